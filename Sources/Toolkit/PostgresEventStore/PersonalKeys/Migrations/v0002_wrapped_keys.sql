-- A key of a person may be wrapped by a key-encryption key that is outside the database: a byte for the form (1), a byte for
-- the length of the key-encryption key's id, the id of 1 to 64 bytes, and 60 bytes of nonce, ciphertext and tag.

-- Not validated, so that the table is not read while it is locked: all keys before this migration have 32 bytes.
alter table personal.keys drop constraint keys_key_check;
alter table personal.keys add constraint keys_key_check
  check (octet_length(key) = 32 or octet_length(key) = 62 + get_byte(key, 1)) not valid;
