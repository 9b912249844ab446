#include <stdio.h>
#include <stdlib.h>
#include "ring.h"

/* As many bytes go round as are asked for: ten, unless told. */
int main(int argc, char **argv)
{
	int rounds = argc > 1 ? atoi(argv[1]) : 10;
	struct ring ring = {{0}, 0, 0};
	for (int i = 0; i < rounds; i++) {
		ring_put(&ring, i);
		int got = ring_get(&ring);
		if (got != (unsigned char)i) {
			printf("not ok: put %d, got %d\n", (unsigned char)i, got);
			return 1;
		}
	}
	printf("ok: %d bytes went round\n", rounds);
	return 0;
}
