import { setNonce } from 'get-nonce';

const meta = document.querySelector<HTMLMetaElement>('meta[property="csp-nonce"]');

/** The nonce of this document's policy, which style elements need. */
export const nonce = () => meta?.nonce ?? '';

setNonce(nonce()); // for the kit's dialogs, which keep the page behind them from scrolling
