"""A real mail server, aiosmtpd, that does not always behave."""

import asyncio
import collections
import email
import random
import threading
import time
import weakref

Mail = collections.namedtuple("Mail", "recipient message_id subject accepted_at")


class MailServer:
    """Accepts most mails. Refuses some for a while, lets some wait, and accepts some without an answer."""

    def __init__(self, port, seed):
        self.port, self.seed, self.attempts = port, seed, collections.Counter()
        self.accepted, self.counts = [], collections.Counter()
        self.listener, self.sessions = None, weakref.WeakSet()
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()

    @property
    def is_open(self):
        return self.listener is not None and self.listener.is_serving()

    def start(self):
        asyncio.run_coroutine_threadsafe(self.listen(), self.loop).result()

    def stop(self):
        """Closes all connections, as a crash does."""
        asyncio.run_coroutine_threadsafe(self.close(), self.loop).result()

    async def listen(self):
        self.listener = await self.loop.create_server(self.session, "127.0.0.1", self.port)

    async def close(self):
        self.listener.close()
        for session in list(self.sessions):
            if session.transport:
                session.transport.abort()

    def session(self):
        # Not at the top: the run installs the package.
        from aiosmtpd.smtp import SMTP

        session = SMTP(self, hostname="localhost", loop=self.loop)
        self.sessions.add(session)
        return session

    async def handle_DATA(self, server, session, envelope):
        message = email.message_from_bytes(envelope.content)
        (recipient,) = envelope.rcpt_tos
        choice = self.choice(recipient, message["Subject"])
        if choice < 0.01:
            return self.note("refused for a while", "451 4.3.0 try again later")
        if choice < 0.015:
            self.note("never answered")
            return await self.end_of_connection()
        self.accepted.append(Mail(recipient, message["Message-ID"], message["Subject"], time.time()))
        if choice < 0.035:
            self.note("accepted, but the connection dropped")
            server.transport.abort()
            return await self.end_of_connection()
        return "250 OK"

    def choice(self, recipient, subject):
        """Follows from the seed, the mail and how often it has come, not from when it comes."""
        self.attempts[recipient, subject] += 1
        return random.Random(f"{self.seed}/mail/{recipient}/{subject}/{self.attempts[recipient, subject]}").random()

    def note(self, what, answer=None):
        self.counts[what] += 1
        return answer

    @staticmethod
    async def end_of_connection():
        # aiosmtpd cancels this.
        await asyncio.Event().wait()
