import assert from "node:assert/strict";
import { test } from "node:test";
import { seconds } from "./seconds.js";

test("two minutes are 120 seconds", () => assert.equal(seconds("2m"), 120));
