import tseslint from "typescript-eslint";

export default tseslint.config(
  { ignores: ["dist", "node_modules"] },
  ...tseslint.configs.strict,
  {
    rules: {
      // What a page shows comes from outside: only text nodes, never markup.
      "no-restricted-properties": [
        "error",
        { property: "innerHTML", message: "text nodes only" },
        { property: "outerHTML", message: "text nodes only" },
        { property: "insertAdjacentHTML", message: "text nodes only" },
      ],
      "no-restricted-syntax": [
        "error",
        { selector: "JSXAttribute[name.name='dangerouslySetInnerHTML']", message: "text nodes only" },
      ],
      "no-console": "error",
    },
  },
  {
    // Only api/ talks to the server.
    files: ["src/parts/**", "src/pages/**", "src/lib/**"],
    rules: { "no-restricted-globals": ["error", { name: "fetch", message: "call src/api" }] },
  },
);
