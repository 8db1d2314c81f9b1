#!/usr/bin/env node
/**
 * Makes the working copy ready to run: installs the packages of the lock file when they are missing or others, and builds
 * `dist` when a source has changed since the last build. Plain Node, because nothing is installed yet when it starts.
 *
 *   node scripts/prepare.mjs          install and build, each only when needed
 *   node scripts/prepare.mjs --build  build although nothing seems to have changed
 */
import { spawnSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const minimum = [20, 19];
const sourceFolders = ["src", "workers", "bench", "examples"];
const sourceFiles = ["tsconfig.json", "tsconfig.build.json", "package-lock.json"];
const manifestFile = join(root, "dist", ".sources.json");

/** Ends with one line on stderr. */
function fail(message) {
  process.stderr.write(`vmxon: ${message}\n`);
  process.exit(1);
}

function run(command, args) {
  const { status, error } = spawnSync(command, args, {
    cwd: root,
    stdio: ["ignore", 2, 2],
    shell: process.platform === "win32",
  });
  if (error) fail(`cannot start ${command}: ${error.message}`);
  return status === 0;
}

function checkNode() {
  const [major, minor] = process.versions.node.split(".").map(Number);
  if (major < minimum[0] || (major === minimum[0] && minor < minimum[1])) {
    fail(`Node ${minimum.join(".")} or newer is needed, this is ${process.versions.node}`);
  }
}

/** True when every package of the lock file is installed in the version it names. Optional ones belong to other platforms. */
function isInstalled() {
  const installedFile = join(root, "node_modules", ".package-lock.json");
  if (!existsSync(installedFile)) return false;
  const wanted = JSON.parse(readFileSync(join(root, "package-lock.json"), "utf8")).packages;
  const installed = JSON.parse(readFileSync(installedFile, "utf8")).packages;
  return Object.entries(wanted).every(
    ([path, entry]) => path === "" || entry.optional || installed[path]?.version === entry.version,
  );
}

/** Every source of the build with its time and size; what it is compared by. */
function listSources() {
  const sources = {};
  const add = (path) => {
    const { mtimeMs, size } = statSync(join(root, path));
    sources[path] = `${mtimeMs}:${size}`;
  };
  for (const folder of sourceFolders) {
    if (!existsSync(join(root, folder))) continue;
    for (const entry of readdirSync(join(root, folder), { recursive: true })) {
      if (entry.endsWith(".ts")) add(join(folder, entry));
    }
  }
  for (const file of sourceFiles) add(file);
  return sources;
}

function readManifest() {
  try {
    return JSON.parse(readFileSync(manifestFile, "utf8"));
  } catch {
    return {};
  }
}

function build(force) {
  const sources = listSources();
  const built = readManifest();
  const paths = Object.keys(sources);
  if (
    !force &&
    paths.length === Object.keys(built).length &&
    paths.every((path) => built[path] === sources[path])
  )
    return;
  // The output of a source that is gone would go on being importable.
  if (Object.keys(built).some((path) => !(path in sources)))
    rmSync(join(root, "dist"), { recursive: true, force: true });
  rmSync(manifestFile, { force: true });
  if (
    !run(process.execPath, [
      join(root, "node_modules", "typescript", "bin", "tsc"),
      "-p",
      "tsconfig.build.json",
    ])
  ) {
    fail("the build failed");
  }
  mkdirSync(dirname(manifestFile), { recursive: true });
  writeFileSync(manifestFile, JSON.stringify(sources));
}

checkNode();
if (!isInstalled() && !run("npm", ["ci", "--include=dev", "--no-audit", "--no-fund"]))
  fail("npm ci failed");
build(process.argv.includes("--build"));
