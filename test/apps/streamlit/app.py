import streamlit as st

st.title("Streamlit on Slipway")
if st.button("Count"):
    st.session_state.n = st.session_state.get("n", 0) + 1
st.write(f"counted {st.session_state.get('n', 0)}")
