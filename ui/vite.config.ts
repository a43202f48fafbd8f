import { defineConfig } from "vite";

// `npm run dev` and `npx vite preview` talk to a server that runs beside them.
const SERVER = process.env["TERCET_SERVER"] ?? "http://127.0.0.1:4319";
const paths = ["/api", "/loki", "/tercet", "/ds", "/v1", "/-", "/metrics"];
const proxy = Object.fromEntries(paths.map((path) => [path, SERVER]));

export default defineConfig({
  build: {
    target: "es2022",
    sourcemap: false,
    modulePreload: { polyfill: false },
  },
  server: { proxy },
  preview: { proxy },
});
