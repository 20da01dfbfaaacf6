"""Tests the console of an application in one process: bank_console.py URL. Prints one finding per line, and exits with 1
if there is any."""

import sys

from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from browsing import eventually, expect, finish, readers, send, start

url = sys.argv[1]
browser = start("--window-size=1280,1400")
text, text_of, all_of = readers(browser)


def post(path, body):
    status, answer = send(url + path, body)
    expect(status in (200, 201), f"{path}: {status} {answer}")
    return answer


def events(account):
    query = browser.find_element(By.CSS_SELECTOR, ".query")
    query.clear()
    query.send_keys(account + Keys.ENTER)
    eventually(f"{account} is open", lambda: len(all_of(".timeline li")) > 0)
    return [event.text for event in all_of(".timeline li")]


try:
    browser.get(url + "/console")
    eventually("two read models and a reaction are there", lambda: len(all_of(".cells button")) == 3 * 16)
    eventually("all is well", lambda: text("state") == "all is well")
    names = [name.text for name in all_of(".generation h3")]
    expect(names == ["balances", "statement", "reaction/deliver"], f"it shows {names}")
    eventually("it says that there is nothing yet", lambda: text_of(".newest") == "There is nothing yet.")
    eventually("its process is there", lambda: "48 assignments" in text("processes") and "dev" in text("processes"))

    ada, bob = [post("/v1/accounts", {"owner": owner})["id"] for owner in ("Ada", "Bob")]
    post(f"/v1/accounts/{ada}/deposits", {"amount": 1500, "reference": "opening"})
    post(f"/v1/accounts/{ada}/payments", {"amount": 300, "reference": "rent", "to": bob})
    post(f"/v1/accounts/{ada}/payments", {"amount": 200, "reference": "lost", "to": "nobody"})
    eventually("both are listed with their balances", lambda: "1,200" in text_of(".newest") and "300" in text_of(".newest"))
    expect(len(all_of(".newest li")) == 2, text_of(".newest"))

    # What a reaction did names the event that it followed, where the stream has it.
    returned = events(ada)[-1]
    expect("Payment Returned" in returned, returned)
    expect("because of Payment Dispatched (version 4), by reaction deliver" in returned, returned)
    expect("because" not in events(ada)[1], events(ada)[1])
    received = events(bob)[-1]
    expect("Money Received" in received, received)
    expect("because of an event of another stream, by reaction deliver" in received, received)
    # The row and the events come with requests of their own.
    eventually("the row is shown above its events", lambda: text_of(".one h3") == "Bob: 300")
    words = browser.execute_async_script("""
        const done = arguments[0];
        import('/console/app.js').then(page => done(page.cause(
          { version: 2, correlationId: 'c', causationId: 'deadline/1' },
          [{ version: 1, correlationId: 'c', type: 'OrderPlaced' }])), done)""")
    expect(words == " · because a deadline passed, set by the request of Order Placed (version 1)", words)

    query = browser.find_element(By.CSS_SELECTOR, ".query")
    query.clear()
    query.send_keys("nobody-at-all" + Keys.ENTER)
    eventually("an unknown id is said", lambda: "nobody-at-all" in text_of(".found-state"))
    expect(len(all_of(".one *")) == 0, "the account before is still there")
finally:
    browser.quit()
finish()
