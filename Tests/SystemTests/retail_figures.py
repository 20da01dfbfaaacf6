"""Computes the totals of a retail file from its lines alone, to compare them with the system's results."""

import collections
import csv
import json
import sys

rejected = collections.Counter()
months = collections.defaultdict(lambda: [0, 0, 0, 0])
countries = collections.defaultdict(lambda: [0, 0, 0])
products = collections.defaultdict(lambda: [0, 0, 0])
customers = collections.defaultdict(lambda: [0, 0, 0])
invoices = {}
for line in csv.DictReader(open(sys.argv[1], encoding="utf-8")):
    number, quantity, price = line["InvoiceNo"], int(line["Quantity"]), line["UnitPrice"]
    credit = number.startswith("C")
    if (quantity >= 0) if credit else (quantity <= 0):
        rejected["positiveReturn" if credit else "notPositiveQuantity"] += 1
    elif float(price) <= 0:
        rejected["notPositivePrice"] += 1
    elif price.partition(".")[2][2:].strip("0"):
        rejected["fractionalPenny"] += 1
    elif not line["StockCode"].strip():
        rejected["missingStockCode"] += 1
    else:
        amount = abs(quantity) * round(float(price) * 100)
        invoice = invoices.setdefault(number, [line["InvoiceDate"], line["Country"], "", 0])
        invoice[0] = min(invoice[0], line["InvoiceDate"])
        invoice[2] = invoice[2] or line["CustomerID"]
        invoice[3] += amount
        product = products[line["StockCode"].strip().upper()]
        if credit:
            product[2] += amount
        else:
            product[0] += quantity
            product[1] += amount
            invoice.append(quantity)
for number, (date, country, customer, amount, *units) in invoices.items():
    month, of_country, of_customer = months[date[:7] + "-01"], countries[country], customers[customer]
    if number.startswith("C"):
        month[3] += amount
        of_country[2] += amount
        of_customer[2] += amount
    else:
        month[0] += 1
        month[1] += sum(units)
        month[2] += amount
        for figures in (of_country, of_customer):
            figures[0] += 1
            figures[1] += amount
customers.pop("", None)
json.dump(
    {
        "orders": sum(not number.startswith("C") for number in invoices),
        "returns": sum(number.startswith("C") for number in invoices),
        "rejected": rejected,
        "months": months,
        "countries": countries,
        "products": products,
        "customers": customers,
    },
    sys.stdout,
)
