"""A Dash app to begin with: one input, one plot."""

import math

import plotly.graph_objects as go
from dash import Dash, Input, Output, dcc, html

app = Dash(__name__, title="Waves")
server = app.server  # what the Procfile names

app.layout = html.Main(
    [
        html.H1("Waves"),
        html.Label(["Waves to show", dcc.Slider(1, 8, 1, value=2, id="waves")]),
        dcc.Graph(id="plot", config={"displayModeBar": False}),
    ],
    style={"maxWidth": 800, "margin": "2rem auto", "fontFamily": "system-ui, sans-serif"},
)


@app.callback(Output("plot", "figure"), Input("waves", "value"))
def draw(waves):
    x = [i / 200 for i in range(201)]
    y = [math.sin(2 * math.pi * waves * v) for v in x]
    return go.Figure(go.Scatter(x=x, y=y), layout={"margin": {"l": 40, "r": 20, "t": 20, "b": 40}})


if __name__ == "__main__":
    app.run(debug=True)
