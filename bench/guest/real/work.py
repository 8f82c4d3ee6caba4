# What interpreted programs do: calls, dictionaries, strings, lists, numbers.


class Body:
    __slots__ = ("x", "v")

    def __init__(self, x, v):
        self.x = x
        self.v = v

    def step(self, dt):
        self.x += self.v * dt
        self.v -= self.x * dt


def queens(n, row=0, columns=0, left=0, right=0):
    if row == n:
        return 1
    found, free = 0, ((1 << n) - 1) & ~(columns | left | right)
    while free:
        bit = free & -free
        free ^= bit
        found += queens(n, row + 1, columns | bit, (left | bit) << 1, (right | bit) >> 1)
    return found


counts = {}
state = 1
for i in range(60000):
    state = state * 1103515245 + 12345 & 0x7FFFFFFF
    word = "w%d" % (state % 997)
    counts[word] = counts.get(word, 0) + 1
bodies = [Body(i * 0.5, 1.0) for i in range(50)]
for _ in range(1200):
    for body in bodies:
        body.step(0.001)
text = ",".join("%s=%d" % pair for pair in sorted(counts.items()))
print(queens(8), len(text), sum(int(part.split("=")[1]) for part in text.split(",")), round(sum(b.x for b in bodies), 6))
