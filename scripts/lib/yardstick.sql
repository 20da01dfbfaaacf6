insert into yardstick (stream, version, type, data) values ('order-' || gen_random_uuid()::text, 1, 'OrderPlaced',
  '{"orderId":"7b4d4dbe-8c5a-4fcb-9a1d-fd3d0a2a2b6c","customerId":"c-1029384","lines":[{"sku":"SKU-1","quantity":2,"unitPrice":1999},{"sku":"SKU-2","quantity":1,"unitPrice":499}],"total":4497}'::jsonb);
