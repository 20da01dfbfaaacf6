"""What stands before the replicas of a service. As a gateway does, it asks no replica that is being replaced or not ready, and
sends a request to another one if one does not answer or says 503."""

import collections
import itertools
import threading

from chaos.system import API


class Gateway:
    def __init__(self, urls):
        self.replicas = [API(url) for url in urls]
        # The numbers of those that are not asked.
        self.absent = set()
        self.turn, self.lock = itertools.count(), threading.Lock()
        # The responses by status; None for those that never came.
        self.answers = collections.Counter()

    def send(self, method, path, body=None, key=None):
        """The status and the JSON of the response; None if no replica has one."""
        answer, first = None, next(self.turn)
        numbers = [number for number in range(len(self.replicas)) if number not in self.absent]
        for place in range(len(numbers)):
            answer = self.replicas[numbers[(first + place) % len(numbers)]].send(method, path, body, key)
            with self.lock:
                self.answers[answer and answer[0]] += 1
            if answer and answer[0] != 503:
                break
        return answer

    def failed(self):
        """How many responses were 5xx."""
        return sum(count for status, count in self.answers.items() if status and status >= 500)
