"""A real SMTP server, aiosmtpd, for tests. It prints what happens as lines of JSON.

    smtp_server.py starttls PORT CERTIFICATE KEY   offers STARTTLS, and requires it and a login
    smtp_server.py smtps PORT CERTIFICATE KEY      uses TLS from the start, and requires a login
    smtp_server.py plain PORT                      accepts a login and mail without TLS
    smtp_server.py impatient PORT                  like plain, and closes the connection after each mail
    smtp_server.py silent PORT                     accepts connections and says nothing
    smtp_server.py unwilling PORT                  greets with 554
    smtp_server.py read FILE                       is no server: prints the mails of a file, which has their lengths before
                                                   them

Port 0 is any free one. The local part of the recipient's address chooses the reply: rcpt-550, data-451, hang, or late: then
the first mail is accepted, but never answered.
"""

import asyncio
import email
import email.header
import email.policy
import email.utils
import json
import re
import ssl
import struct
import sys

from aiosmtpd.smtp import SMTP, AuthResult


def say(**event):
    print(json.dumps(event), flush=True)


def text(message, kind):
    return message.get_body((kind,)).get_content().replace("\r\n", "\n")


def mailbox(content, header):
    # The newer parser of Python 3.11 puts a space between the encoded words of a name.
    name, address = email.utils.parseaddr(email.message_from_bytes(content)[header])
    return {"name": str(email.header.make_header(email.header.decode_header(name))), "address": address}


def describe(content):
    message = email.message_from_bytes(content, policy=email.policy.default)
    defects = [d for part in message.walk() for d in part.defects]
    defects += [d for header in message.values() for d in header.defects]
    return {
        "from": mailbox(content, "From"),
        "to": mailbox(content, "To"),
        "subject": str(message["Subject"]),
        "messageID": str(message["Message-ID"]),
        "date": int(message["Date"].datetime.timestamp()),
        "autoSubmitted": str(message["Auto-Submitted"]),
        "headers": len(message.keys()),
        "type": message.get_content_type(),
        "text": text(message, "plain"),
        "html": text(message, "html"),
        "defects": [repr(defect) for defect in defects],
        "longestLine": max(len(line) for line in content.split(b"\r\n")),
        "isPlainASCII": content.isascii() and not re.search(rb"[\r\n]", content.replace(b"\r\n", b"")),
    }


class Handler:
    async def handle_RCPT(self, server, session, envelope, address, options):
        if code := re.match(r"rcpt-(\d{3})@", address):
            return f"{code[1]} 5.1.1 <{address}> is refused"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        recipient, = envelope.rcpt_tos
        if recipient.startswith("hang@"):
            say(hangs=True)
            await asyncio.Event().wait()
        if code := re.match(r"data-(\d{3})@", recipient):
            return f"{code[1]} 5.6.0 mail to <{recipient}> is refused"
        server.has_mail = True
        say(
            mail=describe(envelope.content),
            sender=envelope.mail_from,
            recipient=recipient,
            connection=server.number,
            isEncrypted=server.transport.get_extra_info("ssl_object") is not None,
            user=session.auth_data,
        )
        if recipient.startswith("late@") and not Server.was_late:
            Server.was_late = True
            await asyncio.Event().wait()
        return "250 OK"


class Server(SMTP):
    count = 0
    was_late = False
    has_mail = False

    def __init__(self, is_impatient, **settings):
        super().__init__(Handler(), hostname="localhost", authenticator=self.authenticate, **settings)
        self.is_impatient = is_impatient
        Server.count += 1
        self.number = Server.count

    @staticmethod
    def authenticate(server, session, envelope, mechanism, data):
        user, password = data.login.decode(), data.password.decode()
        say(login=user)
        return AuthResult(success=password == "p@ss/w:rd;é%", handled=False, auth_data=user)

    async def push(self, reply):
        await super().push(reply)
        if self.is_impatient and self.has_mail:
            self.transport.close()

    def connection_lost(self, error):
        say(closed=self.number)
        super().connection_lost(error)


class Unwilling(asyncio.Protocol):
    def connection_made(self, transport):
        transport.write(b"554 there is no mail service here\r\n")


def tls():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*sys.argv[3:])
    return context


async def serve(mode, port):
    loop = asyncio.get_running_loop()
    whole = tls() if mode == "smtps" else None
    settings = {
        "starttls": lambda: dict(tls_context=tls(), require_starttls=True, auth_required=True),
        "smtps": lambda: dict(auth_require_tls=False, auth_required=True),
        "plain": lambda: dict(auth_require_tls=False),
        "impatient": lambda: dict(auth_require_tls=False),
    }
    protocols = {"silent": asyncio.Protocol, "unwilling": Unwilling}
    made = None if mode in protocols else settings[mode]()
    factory = protocols.get(mode) or (lambda: Server(mode == "impatient", loop=loop, **made))
    server = await loop.create_server(factory, "127.0.0.1", port, ssl=whole)
    say(port=server.sockets[0].getsockname()[1])
    await server.serve_forever()


def read(path):
    with open(path, "rb") as file:
        while length := file.read(8):
            say(**describe(file.read(struct.unpack("<q", length)[0])))


if sys.argv[1] == "read":
    read(sys.argv[2])
else:
    asyncio.run(serve(sys.argv[1], int(sys.argv[2])))
