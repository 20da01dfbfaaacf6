"""The attacks of a run: lines `SECONDS ATTACK TARGET [LENGTH]`, made from a seed, or read from a file.

  kill PROCESS          SIGKILL; its supervisor starts it again. `kill reactor-*` kills all reactors
  stop PROCESS LENGTH   SIGSTOP, and SIGCONT after LENGTH seconds
  start PROCESS         one more process of the service
  end PROCESS           the process and its supervisor end as at a shutdown
  wipe rabbitmq         kills RabbitMQ and removes its data
  delete exchange       deletes the exchange of the live feed
  delete queue-N        deletes the Nth queue of the live feed; after the last one, counting begins again
  purge queue-N         drops the messages in it
  cancel queue-N        the broker cancels its consumer
  disconnect rabbitmq   closes all connections to RabbitMQ
  disconnect SERVICE    closes the connections of reactor or command-service to PostgreSQL
  close mail-server LENGTH   the mail server drops its connections, and accepts none for LENGTH seconds
"""

import dataclasses
import random
import re

# Longer than the lease of 5 s: others take over, and the stopped process continues afterwards.
STOP = 8
AWAY = 3
PROCESS = r"(?:postgres|rabbitmq|(?:command-service|relay|projector|reactor|query-service)-\d+)"
# What each attack accepts as its target, and whether it has a length.
FORMS = {
    "kill": (rf"{PROCESS}|reactor-\*", False),
    "stop": (PROCESS, True),
    "start": (r"projector-\d+", False),
    "end": (r"projector-\d+", False),
    "wipe": ("rabbitmq", False),
    "delete": (r"exchange|queue-\d+", False),
    "purge": (r"queue-\d+", False),
    "cancel": (r"queue-\d+", False),
    "disconnect": ("rabbitmq|reactor|command-service", False),
    "close": ("mail-server", True),
}


@dataclasses.dataclass(frozen=True)
class Attack:
    seconds: float
    name: str
    target: str
    length: float | None = None

    def __str__(self):
        return f"{self.seconds:.1f} {self.action}"

    @property
    def action(self):
        return f"{self.name} {self.target}" + ("" if self.length is None else f" {self.length:g}")

    @property
    def kind(self):
        return f"{self.name} {re.sub(r'-[0-9]+$', '', self.target)}"


def parse(text):
    """Returns the attacks of a schedule in the order of their times. A line that is none raises ValueError."""
    attacks = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if words:
            attacks.append(parsed(number, line, *words))
    return sorted(attacks, key=lambda attack: attack.seconds)


def parsed(number, line, seconds, name="", target="", length=None, *rest):
    form, has_length = FORMS.get(name, ("(?!)", False))
    numbers = [seconds] + ([] if length is None else [length])
    is_right = all(re.fullmatch(r"\d{1,5}(\.\d+)?", text) for text in numbers) and not rest
    if not is_right or not re.fullmatch(form, target) or has_length != (length is not None):
        raise ValueError(f"line {number} is not SECONDS ATTACK TARGET [LENGTH]: {line}")
    return Attack(float(seconds), name, target, None if length is None else float(length))


def made(kind, seed, seconds):
    """Returns the attacks of a kind of run. The same arguments always give the same ones."""
    return parse("\n".join(str(attack) for attack in Maker(kind, seed, seconds).attacks()))


class Maker:
    """Deals all attacks of a kind once in random order, then again, so that none is left out."""

    def __init__(self, kind, seed, seconds):
        self.kind, self.seconds = kind, seconds
        self.choices = random.Random(f"{seed}/{kind}/attacks")
        self.now, self.projectors, self.continues = 0, 3, {}

    def attacks(self):
        return {
            "default": self.once, "hot": self.hot, "projectors": self.of_projectors, "reactions": self.of_reactions,
            "short": self.short,
        }[self.kind]()

    def once(self):
        victims = self.shuffled([f"{name}-1" for name in ("relay", "projector", "command-service", "query-service")]
                                + ["rabbitmq", "postgres"])
        return [Attack(self.seconds * (0.1 + 0.14 * n + self.choices.uniform(-0.03, 0.03)), "kill", victim)
                for n, victim in enumerate(victims)]

    def hot(self):
        """Each victim is drawn anew, so that one may be hit several times in a row."""
        attacks, now = [], self.choices.uniform(2, 8)
        while now < self.seconds:
            victim = self.choices.choice(["postgres", "command-service-1", "command-service-2"])
            attacks.append(Attack(now, "kill", victim))
            now += self.choices.uniform(2, 8)
        return attacks

    def of_projectors(self):
        return self.dealt(2 * [self.kill_projector] + 3 * [self.stop_projector] + [self.scale] + [
            "kill postgres", "wipe rabbitmq", "delete exchange", "disconnect rabbitmq",
            self.queue("purge"), self.queue("delete"), self.queue("cancel")], self.seconds, (3, 8))

    def of_reactions(self):
        # Customers pay until the longest deadline after the last order.
        return self.dealt(3 * [self.kill_reactor] + 3 * [self.stop_reactor] + [
            "kill reactor-*", "kill command-service-1", "kill postgres", "wipe rabbitmq",
            "disconnect reactor", "disconnect command-service", f"close mail-server {AWAY}"], self.seconds + 15, (2, 6))

    def short(self):
        """Every kind of process and both servers at least once."""
        return self.dealt([
            "kill command-service-1", "kill relay-1", "kill query-service-1", "kill rabbitmq", "kill postgres",
            f"stop relay-1 {STOP}", self.kill_projector, self.stop_projector, self.kill_reactor, self.stop_reactor,
            self.queue("delete"), "disconnect rabbitmq", "disconnect command-service", f"close mail-server {AWAY}",
        ], self.seconds + 10, (3, 6), rounds=1)

    def dealt(self, deck, end, gap, rounds=None):
        """Deals the deck until the end. If the first round would last longer, its gaps are shorter."""
        low, high = gap
        factor = min(1, end / (high * len(deck)))
        attacks, left = [], []
        while self.now < end:
            if not left:
                if rounds == 0:
                    break
                rounds = rounds and rounds - 1
                left = self.shuffled(deck)
            self.now += factor * self.choices.uniform(low, high)
            if self.now < end:
                card = left.pop()
                attacks.append(f"{self.now:.1f} {card if isinstance(card, str) else card()}")
        return attacks

    def shuffled(self, items):
        return self.choices.sample(items, len(items))

    def kill_projector(self):
        return f"kill projector-{self.choices.randint(1, self.projectors)}"

    def stop_projector(self):
        return self.stop([f"projector-{n + 1}" for n in range(self.projectors)])

    def kill_reactor(self):
        return f"kill reactor-{self.choices.randint(1, 3)}"

    def stop_reactor(self):
        return self.stop([f"reactor-{n + 1}" for n in range(3)])

    def stop(self, names):
        """One that has continued since its last stop, if there is one."""
        running = [name for name in names if self.continues.get(name, 0) <= self.now] or names
        name = self.choices.choice(running)
        self.continues[name] = self.now + STOP
        return f"stop {name} {STOP}"

    def scale(self):
        """One projector more, and the next time one less."""
        if self.projectors == 3:
            self.projectors = 4
            return "start projector-4"
        self.projectors = 3
        return "end projector-4"

    def queue(self, attack):
        return lambda: f"{attack} queue-{self.choices.randint(1, 4)}"
