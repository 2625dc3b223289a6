// Runs in the build of an image, where the package was installed: finds its program as `npx` would, and notes its version.
import { chmodSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { resolve } from "node:path";

const name = process.argv[2];
const home = resolve("node_modules", name);
const manifest = JSON.parse(readFileSync(resolve(home, "package.json"), "utf8"));
const plain = name.split("/").pop();
const programs = typeof manifest.bin === "string" ? { [plain]: manifest.bin } : (manifest.bin ?? {});
const names = Object.keys(programs);
const one = new Set(Object.values(programs)).size === 1 ? names[0] : undefined;
const program = names.includes(plain) ? plain : one;
if (program === undefined) {
  const has = names.length === 0 ? "has no program" : `has several programs and none of its own name: ${names.join(", ")}`;
  console.error(`${name} ${has}`);
  process.exit(1);
}
const file = resolve(home, programs[program]);
chmodSync(file, 0o755);
symlinkSync(file, "entry");
writeFileSync("VERSION", manifest.version);
