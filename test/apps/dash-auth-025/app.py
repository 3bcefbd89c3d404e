"""Who looks, as told in a callback and in a background callback."""

import dash_enterprise_auth as auth
import diskcache
from dash import Dash, DiskcacheManager, Input, Output, html

manager = DiskcacheManager(diskcache.Cache("/tmp/cache"))
app = Dash(__name__, background_callback_manager=manager)
server = app.server
app.layout = html.Div([html.P(id="now"), html.P(id="later"), html.Button("Ask", id="ask")])


@app.callback(Output("now", "children"), Input("ask", "n_clicks"))
def now(_):
    return f"now {auth.get_username()}"


@app.callback(Output("later", "children"), Input("ask", "n_clicks"), background=True)
def later(_):
    return f"later {auth.get_username()}"
