import react from '@vitejs/plugin-react';
import { defineConfig } from 'vite';

// The binary replaces the nonce in each answer; see internal/web.
export default defineConfig({
  plugins: [react()],
  html: { cspNonce: '__SLIPWAY_NONCE__' },
  build: { outDir: 'dist', assetsInlineLimit: 0, target: 'es2022', cssTarget: ['chrome123', 'firefox120', 'safari17.5'], modulePreload: { polyfill: false }, chunkSizeWarningLimit: 2000 },
  server: {
    // Vite for development, the API of a real Slipway: SLIPWAY=https://api-slipway.localhost:8443 npm run dev
    proxy: process.env.SLIPWAY ? { '/v1': { target: process.env.SLIPWAY, changeOrigin: true, secure: false } } : {},
  },
});
