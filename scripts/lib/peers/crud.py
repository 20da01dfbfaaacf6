"""Orders as rows: the same service without events, in FastAPI and asyncpg."""

import json
import os
import uuid
from contextlib import asynccontextmanager

import asyncpg
from fastapi import FastAPI, HTTPException, Response
from pydantic import BaseModel


class Line(BaseModel):
    sku: str
    quantity: int


class Order(BaseModel):
    customerId: str
    lines: list[Line]


@asynccontextmanager
async def lifespan(app: FastAPI):
    async with asyncpg.create_pool(os.environ["CRUD_DATABASE_URL"], min_size=8, max_size=8) as pool:
        app.state.pool = pool
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/orders", status_code=201)
async def place(order: Order):
    order_id = str(uuid.uuid4())
    price = await app.state.pool.fetchval("select unit_price from products where sku = $1", order.lines[0].sku)
    if price is None:
        raise HTTPException(422, "no such product")
    document = {"id": order_id, "total": price * order.lines[0].quantity} | order.model_dump()
    await app.state.pool.execute(
        "insert into orders (id, customer_id, document) values ($1, $2, $3)",
        order_id,
        order.customerId,
        json.dumps(document),
    )
    return {"id": order_id}


@app.get("/orders/{order_id}")
async def read(order_id: str):
    document = await app.state.pool.fetchval("select document from orders where id = $1", order_id)
    if document is None:
        raise HTTPException(404)
    return Response(document, media_type="application/json")
