import asyncio

from fastapi import FastAPI, WebSocket, WebSocketDisconnect
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


async def echo(scope, receive, send):
    """Sends back each piece of the body as it comes."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    more = True
    while more:
        message = await receive()
        more = message.get("more_body", False)
        await send({"type": "http.response.body", "body": message.get("body", b""), "more_body": more})


app.mount("/upload", echo)


@app.websocket("/ws")
async def ws(socket: WebSocket):
    await socket.accept()
    try:
        while True:
            await socket.send_text(await socket.receive_text())
    except WebSocketDisconnect:
        pass
