"""A Dash app that sets a prefix of its own, as some written for one server do."""

from dash import Dash, Input, Output, dcc, html

app = Dash(__name__, url_base_pathname="/dash/")
server = app.server
app.layout = html.Div([dcc.Input(id="in", value="x"), html.P(id="out")])


@app.callback(Output("out", "children"), Input("in", "value"))
def out(value):
    return f"got {value}"
