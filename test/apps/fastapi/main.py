import asyncio

from fastapi import FastAPI, Request, WebSocket, WebSocketDisconnect
from fastapi.responses import PlainTextResponse, StreamingResponse

VERSION = "one"
app = FastAPI()


@app.get("/version", response_class=PlainTextResponse)
def version():
    return VERSION


@app.get("/")
def index():
    return {"version": VERSION}


@app.get("/stream")
def stream():
    async def events():
        for n in range(5):
            yield f"data: {n}\n\n"
            await asyncio.sleep(0.2)

    return StreamingResponse(events(), media_type="text/event-stream")


@app.post("/upload")
async def upload(request: Request):
    async def echo():
        async for chunk in request.stream():
            yield chunk

    return StreamingResponse(echo(), media_type="application/octet-stream")


@app.websocket("/ws")
async def ws(socket: WebSocket):
    await socket.accept()
    try:
        while True:
            await socket.send_text(await socket.receive_text())
    except WebSocketDisconnect:
        pass
