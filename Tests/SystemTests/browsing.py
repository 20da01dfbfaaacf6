"""What tests in a browser share: a headless browser, and findings that are printed at the end."""

import json
import sys
import time
import urllib.request

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

findings = []


def start(*arguments):
    options = Options()
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", *arguments):
        options.add_argument(argument)
    options.binary_location = "/usr/bin/chromium"
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return webdriver.Chrome(service=Service("/usr/bin/chromedriver"), options=options)


def expect(is_so, what):
    if not is_so:
        findings.append(what)


def eventually(what, condition, seconds=150):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if condition():
                return True
        except Exception as error:
            last = error
        time.sleep(0.1)
    findings.append(f"never: {what}")
    return False


def send(url, body=None, token=None, method=None):
    """Returns the status and the JSON of the answer."""
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, headers, method=method)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return answer.status, json.load(answer)


def readers(browser):
    """Returns functions that find the text of an id, the text of a selector, and the elements of a selector."""
    return (
        lambda id: browser.find_element(By.ID, id).text,
        lambda selector: browser.find_element(By.CSS_SELECTOR, selector).text,
        lambda selector: browser.find_elements(By.CSS_SELECTOR, selector),
    )


def finish():
    print("\n".join(findings), flush=True)
    sys.exit(1 if findings else 0)
