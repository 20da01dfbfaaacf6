"""Clients that change the prices of a few products through every replica, and repeat keys on purpose; and a comparison
of each response with the store."""

import collections
import json
import random
import threading
import time
import uuid

from .shell import WORK, Background, Failure
from .system import API

PRODUCTS, CLIENTS = 10, 24
Request = collections.namedtuple("Request", "key path body")
# body is the text; all of it has to be the same whenever the key is repeated.
Answer = collections.namedtuple("Answer", "status body etag location")


class HotClients:
    def __init__(self, seed, urls):
        self.seed, self.replicas = seed, [API(url) for url in urls]
        self.over, self.lock = threading.Event(), threading.Lock()
        self.tried, self.answers = set(), collections.defaultdict(list)
        self.file = open(WORK / "answers", "w")

    def register(self):
        for n in range(PRODUCTS):
            body = json.dumps({"sku": f"HOT-{n}", "name": "Hot", "unitPrice": 100, "tracksStock": False})
            request = Request(f"register-{n}", "/v1/products", body)
            answer = self.send(self.replicas[0], "POST", request)
            if not answer or answer.status != 201:
                raise Failure(f"registering a product answered {answer}")

    def start(self):
        self.threads = [Background(self.run, client) for client in range(CLIENTS)]

    def finish(self):
        """Each client finishes its last request, for up to 60 s."""
        self.end = time.monotonic() + 60
        self.over.set()
        for thread in self.threads:
            thread.finish()
        self.file.close()

    def run(self, client):
        number = 0
        while not self.over.is_set():
            choices = random.Random(f"{self.seed}/{client}/{number}/sending")
            # Some clients give up before they learn the outcome of their command.
            patience = 1 if choices.random() < 0.05 else 1000
            self.send_until_answered(self.request(client, number), patience, choices)
            number += 1

    def request(self, client, number):
        """Sometimes one that a client has already sent, recently or long ago."""
        choices = random.Random(f"{self.seed}/{client}/{number}")
        if number and choices.random() < 0.2:
            return self.request(choices.randrange(CLIENTS), choices.randrange(number))
        path = f"/v1/products/HOT-{choices.randrange(PRODUCTS)}/price"
        key = str(uuid.UUID(int=choices.getrandbits(128)))
        return Request(key, path, json.dumps({"unitPrice": choices.randrange(1, 50)}))

    def send_until_answered(self, request, patience, choices):
        for _ in range(patience):
            answer = self.send(choices.choice(self.replicas), "PUT", request)
            if answer and answer.status not in (503, 504):
                return
            if self.over.is_set() and time.monotonic() > self.end:
                return
            time.sleep(0.05 + 0.2 * choices.random())

    def send(self, replica, method, request):
        """Returns the response, and notes it."""
        found = replica.exchange(method, request.path, request.body, request.key)
        answer = found and Answer(found[0], found[1], found[2].get("ETag"), found[2].get("Location"))
        with self.lock:
            self.tried.add(request.key)
            if answer and answer.status not in (409, 503, 504):
                self.answers[request.key].append(answer)
            self.file.write(json.dumps({"key": request.key, "path": request.path, "answer": answer}) + "\n")
        return answer


def compare_streams(system, verdict):
    verdict.compare_positions(system)
    verdict.compare("streams with a gap or a double version", 0, system.count(
        """select count(*) from (select 1 from event_store.events group by stream
           having count(*) <> max(version) or min(version) <> 1 or count(distinct version) <> count(*)) s"""))
    verdict.compare("streams whose version is not the last one of their events", 0, system.count(
        """select count(*) from event_store.streams s
           where s.version <> (select max(version) from event_store.events e where e.stream = s.stream)"""))
    verdict.compare("events whose key is not in the store", 0, system.count(
        """select count(*) from event_store.events e where not exists
           (select from event_store.idempotency_keys k where k.key = e.metadata->>'causationId')"""))


def stored_keys(system):
    """Each key with the body of its response, and how many events it caused."""
    rows = system.rows(
        r"""select k.key, split_part(k.response, E'\n\n', 2), count(e.id)
            from event_store.idempotency_keys k left join event_store.events e on e.metadata->>'causationId' = k.key
            group by k.key, k.response""")
    return {key: (body, int(events)) for key, body, events in rows}


def compare_keys(verdict, clients, stored):
    """Compares the responses that the clients got with the store."""
    unexpected = [(key, answer) for key, several in clients.answers.items() for answer in several if answer.status >= 300]
    answers = {key: [answer for answer in several if answer.status < 300] for key, several in clients.answers.items()}
    answers = {key: several for key, several in answers.items() if several}
    first = {key: several[0].body for key, several in answers.items()}
    repeated = [key for key in answers if len(answers[key]) > 1]
    events = {key: 0 if '"changed":false' in first[key] else 1 for key in answers}
    verdict.none_of("unexpected responses", unexpected)
    verdict.all_of("acknowledged keys that are in the store", answers, [key for key in answers if key not in stored])
    verdict.all_of("acknowledged keys with exactly the events of one command", answers,
                   [key for key in answers if stored.get(key, ("", -1))[1] != events[key]])
    verdict.all_of("acknowledged keys whose response is the stored one", answers,
                   [key for key in answers if stored.get(key, ("", 0))[0] != first[key]])
    verdict.all_of("repeated keys with the same response every time", repeated,
                   [key for key in repeated if len(set(answers[key])) != 1])
    verdict.compare("some keys were repeated", True, bool(repeated))
    unanswered = [key for key in stored if key not in answers]
    verdict.none_of("unacknowledged keys that took effect twice", [key for key in unanswered if stored[key][1] > 1])
    verdict.none_of("keys in the store that no client sent", sorted(stored.keys() - clients.tried))
    return (f"{len(clients.tried)} keys sent, {len(answers)} acknowledged, {len(repeated)} with several responses, "
            f"{len(unanswered)} stored although the client got no response")
