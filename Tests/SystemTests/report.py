"""Checks a load report in a real browser, at desktop and phone size: report.py FILE. Prints findings, and exits with 1 if there are any."""

import sys

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

findings = []
options = Options()
for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
    options.add_argument(argument)
options.binary_location = "/usr/bin/chromium"
options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
browser = webdriver.Chrome(service=Service("/usr/bin/chromedriver"), options=options)
run = browser.execute_script
try:
    for width in (1280, 390):
        browser.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride", {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 600})
        browser.get("file://" + sys.argv[1])
        text = run("return document.body.innerText")
        if "Comparison" not in text:
            findings.append(f"{width}: no comparison in {text}")
        # Latency, rate, lag, error and percentile charts for each of the three profiles, and one chart of all.
        if run("return document.querySelectorAll('svg').length") < 13:
            findings.append(f"{width}: too few charts")
        cut = run("return [...document.querySelectorAll('.scroll, html')].filter(e => e.scrollWidth > e.clientWidth).map(e => e.innerText)")
        if cut:
            findings.append(f"{width}: cut off: {cut}")
        small = run("return [...document.querySelectorAll('svg text')].map(e => e.getBoundingClientRect().height).filter(h => h < 9.5)")
        if small:
            findings.append(f"{width}: {len(small)} labels of {min(small)} pixels and more")
        heads = run("return [...document.querySelectorAll('th[scope=col]')].map(e => e.textContent)")
        if "value" in heads or "p99" not in heads:
            findings.append(f"{width}: heads {heads}")
    findings += [entry["message"] for entry in browser.get_log("browser")]
finally:
    browser.quit()
print("\n".join(findings), flush=True)
sys.exit(1 if findings else 0)
