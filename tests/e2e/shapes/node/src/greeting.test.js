const assert = require("node:assert");
const test = require("node:test");
const { greeting } = require("./greeting");

test("a greeting has the version", () => assert.match(greeting("1.0"), /^hello 1.0 /));
