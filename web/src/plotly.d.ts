declare module 'plotly.js-basic-dist-min' {
  const plotly: {
    react: (div: HTMLElement, data: object[], layout: Plotly.Layout, config: object) => Promise<unknown>;
    purge: (div: HTMLElement) => void;
  };
  export default plotly;
}

declare namespace Plotly {
  type Layout = Record<string, unknown>;
}
