#include "ring.h"

int ring_put(struct ring *ring, unsigned char byte)
{
	if (ring->count == RING_SIZE)
		return -1;
	ring->bytes[(ring->head + ring->count++) % RING_SIZE] = byte;
	return 0;
}

int ring_get(struct ring *ring)
{
	if (ring->count == 0)
		return -1;
	ring->count--;
	return ring->bytes[ring->head++];
}
