package system

// UnmapAfter is for the tests.
const UnmapAfter = unmapAfter
