"""Fills Examples/Social over HTTP: 2,000 people, 100,000 posts, and one reader who follows 1,000 of them."""

import http.client
import json
import sys
import threading
import urllib.parse

CLIENTS = 16
PEOPLE, POSTS, FOLLOWED = 2_000, 100_000, 1_000


def joining():
    yield "PUT", "/v1/people/reader", {"name": "Reader"}
    for person in range(PEOPLE):
        yield "PUT", f"/v1/people/author-{person}", {"name": f"Author {person}"}


def following_and_publishing():
    for person in range(FOLLOWED):
        yield "PUT", f"/v1/people/reader/follows/author-{person * 2}", None
    for post in range(POSTS):
        # Spreads posts over all authors, in the same order each time.
        yield "POST", f"/v1/people/author-{post * 7919 % PEOPLE}/posts", {"text": f"post {post}"}


class Filling:
    def __init__(self, url, requests):
        self.address = urllib.parse.urlsplit(url).netloc
        self.requests = requests
        self.lock = threading.Lock()
        self.failure = None

    def next(self):
        with self.lock:
            return None if self.failure else next(self.requests, None)

    def client(self):
        connection = http.client.HTTPConnection(self.address, timeout=60)
        while request := self.next():
            method, path, body = request
            headers = {"Content-Type": "application/json"} if body else {}
            connection.request(method, path, json.dumps(body) if body else None, headers)
            answer = connection.getresponse()
            text = answer.read()
            if answer.status not in (200, 201):
                self.failure = f"{method} {path}: {answer.status} {text.decode()}"

    def run(self):
        threads = [threading.Thread(target=self.client) for _ in range(CLIENTS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self.failure:
            sys.exit(self.failure)


for requests in [joining(), following_and_publishing()]:
    Filling(sys.argv[1], requests).run()
