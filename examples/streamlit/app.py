"""A Streamlit app to begin with: one input, one chart."""

import math

import streamlit as st

st.set_page_config(page_title="Waves")
st.title("Waves")
waves = st.slider("Waves to show", 1, 8, 2)
st.line_chart([math.sin(2 * math.pi * waves * i / 200) for i in range(201)])
