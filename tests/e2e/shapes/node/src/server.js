const http = require("node:http");
const { version } = require("../package.json");
const { greeting } = require("./greeting");

http.createServer((request, response) => response.end(greeting(version))).listen(3000);
