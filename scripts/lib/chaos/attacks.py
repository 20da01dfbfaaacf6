"""Carries out a schedule."""

import collections
import shutil
import signal
import subprocess
import threading
import time

from . import broker
from .schedule import Attack
from .shell import LOCAL, Background, say, wait_until
from .system import end_service, is_supervised, names_like, process_id, signal_process

# How many seconds an attack waits until it is possible, and a process until it is started again.
PATIENCE = 60
# The user of PostgreSQL that each service is.
ROLES = {"reactor": "counterflow_reactor", "command-service": "counterflow_command"}


class Attacks:
    def __init__(self, system, schedule, mails=None):
        self.system, self.schedule, self.mails = system, schedule, mails
        self.kinds, self.missed, self.gone = collections.Counter(), [], []
        self.stopped, self.restarts = {}, []

    def run(self):
        """Carries out each attack at its time. One that is not possible yet waits, and so do those after it."""
        begin = time.monotonic()
        last = begin - 1
        for attack in self.schedule:
            time.sleep(max(0, max(begin + attack.seconds, last + 1) - time.monotonic()))
            is_done, last = wait_until(lambda: self.perform(attack), PATIENCE), time.monotonic()
            say(f"{last - begin:7.1f} s: {attack}" + ("" if is_done else ", which was not possible"))
            if is_done:
                self.kinds[attack.kind] += 1
            else:
                self.missed.append(attack)

    def finish(self):
        """Returns when everything that was stopped continues, and everything that was killed runs again."""
        wait_until(lambda: not self.stopped, PATIENCE)
        for restart in self.restarts:
            restart.finish()

    def end(self):
        """Lets everything that is stopped continue at once."""
        for name in list(self.stopped):
            self.resume(name)

    def compare(self, verdict):
        verdict.all_of("attacks that happened", self.schedule, self.missed)
        verdict.compare("kinds of attacks that happened", len({attack.kind for attack in self.schedule}), len(self.kinds))
        verdict.none_of("processes that were not started again", self.gone)
        say("  " + ", ".join(f"{count} {kind}" for kind, count in sorted(self.kinds.items())))

    def perform(self, attack: Attack):
        """Returns whether the attack was possible."""
        target = attack.target
        match attack.name:
            case "kill":
                # Several match reactor-*; one of them may be down already.
                return any([self.kill(name) for name in names_like(target)])
            case "stop":
                return self.stop(target, attack.length)
            case "start":
                return self.start(target)
            case "end":
                return end_service(target)
            case "wipe":
                return self.kill(target) and self.remove_data(target)
            case "delete" if target == "exchange":
                return broker.delete_exchange()
            case "delete" | "purge" | "cancel":
                return self.attack_queue(attack.name, int(target.removeprefix("queue-")))
            case "disconnect" if target == "rabbitmq":
                return broker.close_connections()
            case "disconnect":
                return self.disconnect(ROLES[target])
            case "close":
                return self.close_mails(attack.length)

    def kill(self, name):
        victim = process_id(name)
        if not victim or not signal_process(victim, signal.SIGKILL):
            return False
        self.restarts.append(Background(self.await_restart, name, victim))
        return True

    def await_restart(self, name, victim):
        # What ended meanwhile as planned is not started again.
        is_back = wait_until(lambda: process_id(name) not in (None, victim) or not is_supervised(name), PATIENCE)
        if not is_back or name == "postgres" and not wait_until(self.system.is_postgres_ready, PATIENCE):
            self.gone.append(name)

    def stop(self, name, length):
        victim = process_id(name)
        if not victim or name in self.stopped or not signal_process(victim, signal.SIGSTOP):
            return False
        self.stopped[name] = victim
        timer = threading.Timer(length, self.resume, [name])
        timer.daemon = True
        timer.start()
        return True

    def resume(self, name):
        victim = self.stopped.pop(name, None)
        # It may have been killed meanwhile.
        if victim and process_id(name) == victim:
            signal_process(victim, signal.SIGCONT)

    def start(self, name):
        if is_supervised(name):
            return False
        self.system.start_service(name, "projector", "projector")
        return True

    @staticmethod
    def remove_data(name):
        shutil.rmtree(LOCAL / name / "data", ignore_errors=True)
        return True

    @staticmethod
    def attack_queue(attack, number):
        found = broker.queues("/")
        return bool(found) and broker.attack_queue(attack, "/", found[(number - 1) % len(found)])

    def disconnect(self, role):
        try:
            return self.system.rows(f"select pg_terminate_backend(pid) from pg_stat_activity where usename = '{role}'") != []
        except (ConnectionError, subprocess.TimeoutExpired):
            return False

    def close_mails(self, length):
        if not self.mails or not self.mails.is_open:
            return False
        self.mails.stop()
        self.restarts.append(Background(self.open_mails, length))
        return True

    def open_mails(self, length):
        time.sleep(length)
        self.mails.start()
