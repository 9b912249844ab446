/* A queue of at most RING_SIZE bytes. */
#define RING_SIZE 4
struct ring { unsigned char bytes[RING_SIZE]; unsigned head, count; };
int ring_put(struct ring *ring, unsigned char byte);
int ring_get(struct ring *ring);
