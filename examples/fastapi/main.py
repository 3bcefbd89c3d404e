"""An API to begin with. Its documentation is at /docs below the app's address."""

import math

from fastapi import FastAPI, Query

app = FastAPI(title="Waves")


@app.get("/")
def index():
    return {"message": "Ask for /wave?waves=3, or read /docs."}


@app.get("/wave")
def wave(waves: int = Query(2, ge=1, le=8), points: int = Query(21, ge=2, le=1000)):
    """Points of a wave, from 0 to 1."""
    return [round(math.sin(2 * math.pi * waves * i / (points - 1)), 6) for i in range(points)]
