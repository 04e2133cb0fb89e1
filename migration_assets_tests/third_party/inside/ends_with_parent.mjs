// Ends the process when standard input does: it is a pipe that the parent holds, so however the
// parent ends, the server does too.
process.stdin.on("end", () => process.exit(0));
process.stdin.resume();
