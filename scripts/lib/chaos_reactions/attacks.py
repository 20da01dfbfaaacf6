"""Attacks on the processes and servers of a shop, in an order that follows from a seed."""

import collections
import shutil
import signal
import threading
import time

from system import LOCAL, process_id, rows, say, signal_process, succeeds, wait_until

REACTORS = ["reactor-1", "reactor-2", "reactor-3"]
# Longer than the lease of 5 s: other reactors take over, and the stopped one continues afterwards.
STOP = 8
# How long the mail server is away.
AWAY = 3


class Attacks:
    def __init__(self, choices, mails):
        self.choices, self.mails = choices, mails
        self.counts, self.stopped = collections.Counter(), {}
        self.kinds = {
            "SIGKILL of a reactor": (self.kill_reactor, 3),
            "SIGSTOP of a reactor for 8 s": (self.stop_reactor, 3),
            "SIGKILL of all reactors": (self.kill_reactors, 1),
            "SIGKILL of command-service": (self.kill_commands, 1),
            "SIGKILL of PostgreSQL": (self.kill_postgres, 1),
            "RabbitMQ killed, its data removed": (self.wipe_broker, 1),
            "connections of reactors dropped": (self.drop_reactors, 1),
            "connections of command-service dropped": (self.drop_commands, 1),
            "mail server away for 3 s": (self.stop_mails, 1),
        }

    @property
    def total(self):
        return self.counts.total()

    def run(self, load):
        """Attacks until the load ends, but at least once in each way."""
        deck, is_first = [], True
        while load.is_alive() or is_first:
            deck = deck or self.shuffled()
            time.sleep(self.choices.uniform(2, 6))
            kind = deck.pop()
            if self.kinds[kind][0]():
                self.counts[kind] += 1
                say(f"{kind} ({self.total})")
            else:
                deck.insert(0, kind)
            is_first = is_first and bool(deck)

    def shuffled(self):
        deck = [kind for kind, (_, times) in self.kinds.items() for _ in range(times)]
        self.choices.shuffle(deck)
        return deck

    def end(self):
        """Lets everything that is stopped continue."""
        for name in list(self.stopped):
            self.resume(name)

    def kill(self, name):
        """Returns whether the process ran, once it runs again."""
        victim = process_id(name)
        if not victim or not signal_process(victim, signal.SIGKILL):
            return False
        if not wait_until(lambda: process_id(name) not in (None, victim)):
            raise TimeoutError(f"{name} was not started again")
        return True

    def kill_reactor(self):
        return self.kill(self.choices.choice(REACTORS))

    def kill_reactors(self):
        victims = [victim for victim in map(process_id, REACTORS) if victim]
        return any([signal_process(victim, signal.SIGKILL) for victim in victims])

    def stop_reactor(self):
        name = self.choices.choice(REACTORS)
        victim = process_id(name)
        if not victim or name in self.stopped or not signal_process(victim, signal.SIGSTOP):
            return False
        self.stopped[name] = victim
        threading.Timer(STOP, self.resume, [name]).start()
        return True

    def resume(self, name):
        victim = self.stopped.pop(name, None)
        # It may have been killed meanwhile.
        if victim and process_id(name) == victim:
            signal_process(victim, signal.SIGCONT)

    def kill_commands(self):
        return self.kill("command-service-1")

    def kill_postgres(self):
        return self.kill("postgres") and wait_until(lambda: succeeds("select true"))

    def wipe_broker(self):
        victim = process_id("rabbitmq")
        if not victim or not signal_process(victim, signal.SIGKILL):
            return False
        shutil.rmtree(LOCAL / "rabbitmq/data", ignore_errors=True)
        return True

    def drop(self, role):
        return rows(f"select pg_terminate_backend(pid) from pg_stat_activity where usename = '{role}'") != []

    def drop_reactors(self):
        return self.drop("counterflow_reactor")

    def drop_commands(self):
        return self.drop("counterflow_command")

    def stop_mails(self):
        self.mails.stop()
        time.sleep(AWAY)
        self.mails.start()
        return True
