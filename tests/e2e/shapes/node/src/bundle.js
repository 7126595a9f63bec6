// What a bundler does: the sources that the program needs, and nothing else.
const fs = require("node:fs");

fs.mkdirSync("dist");
for (const name of ["greeting.js", "server.js"]) fs.copyFileSync(`src/${name}`, `dist/${name}`);
