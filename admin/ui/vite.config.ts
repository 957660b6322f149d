import react from '@vitejs/plugin-react';
import { defineConfig } from 'vitest/config';

// The content policy allows scripts from our own host only, and no data: or blob: scripts, so nothing is inlined.
export default defineConfig({
  plugins: [react()],
  build: {
    target: 'es2022',
    assetsInlineLimit: 0,
    chunkSizeWarningLimit: 1000,
    license: { fileName: 'licenses.txt' },
    modulePreload: { polyfill: false },
    // A browser has six HTTP/1.1 connections to us: what several parts share is one file, not one for each set of sharers.
    rolldownOptions: { output: { codeSplitting: { groups: [{ name: 'common', minShareCount: 2 }] } } },
  },
  server: {
    proxy: Object.fromEntries(
      ['/api', '/prometheus', '/pki'].map((path) => [
        path,
        { target: process.env.MUSTER_URL ?? 'https://127.0.0.1:8443', secure: false, changeOrigin: true },
      ]),
    ),
  },
  test: { include: ['src/**/*.test.ts'], environment: 'node' },
});
