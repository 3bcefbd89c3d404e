"""Iris explorer: the classic measurements of three species, by Fisher (1936)."""

import csv
from pathlib import Path

import dash_enterprise_auth as auth
import plotly.graph_objects as go
from dash import Dash, Input, Output, dcc, html

SPECIES = {"setosa": "#4c6ef5", "versicolor": "#0ca678", "virginica": "#e8590c"}
MEASURES = ["sepal length", "sepal width", "petal length", "petal width"]

with open(Path(__file__).parent / "iris.csv", newline="") as f:
    ROWS = [{k: v if k == "species" else float(v) for k, v in row.items()} for row in csv.DictReader(f)]

app = Dash(__name__, title="Iris explorer")
server = app.server


def choice(id_, label, options, value):
    return html.Label([label, dcc.Dropdown(options, value, id=id_, clearable=False, searchable=False)], className="choice")


app.layout = html.Main(
    [
        html.Header([html.H1("Iris explorer"), html.P(["Signed in as ", html.Strong("…", id="viewer")])]),
        html.Section(
            [
                choice("species", "Species", ["all", *SPECIES], "all"),
                choice("x", "Across", MEASURES, "petal length"),
                choice("y", "Up", MEASURES, "petal width"),
            ],
            className="choices",
        ),
        dcc.Graph(id="chart", config={"displayModeBar": False}),
        html.P(id="summary"),
    ]
)


@app.callback(Output("viewer", "children"), Input("chart", "id"))
def viewer(_):
    return auth.get_username() or "nobody"


@app.callback(
    Output("chart", "figure"), Output("summary", "children"), Input("species", "value"), Input("x", "value"), Input("y", "value")
)
def draw(species, x, y):
    shown = [s for s in SPECIES if species in ("all", s)]
    figure = go.Figure(layout={"template": "plotly_white", "xaxis_title": f"{x} (cm)", "yaxis_title": f"{y} (cm)"})
    figure.update_layout(margin={"l": 60, "r": 20, "t": 20, "b": 50}, legend_title="Species", showlegend=True)
    for name in shown:
        rows = [r for r in ROWS if r["species"] == name]
        figure.add_scatter(
            x=[r[x] for r in rows], y=[r[y] for r in rows], name=name, mode="markers", marker={"size": 10, "color": SPECIES[name]}
        )
    rows = [r for r in ROWS if r["species"] in shown]
    mean = sum(r[y] for r in rows) / len(rows)
    return figure, f"{len(rows)} flowers of {', '.join(shown)}: mean {y} {mean:.2f} cm"


if __name__ == "__main__":
    app.run(debug=True)
