// A just-in-time compiler at work: hot numeric loops, changing object shapes, closures, strings, and code that is new all the time.
function mandelbrot(size) {
    let inside = 0;
    for (let y = 0; y < size; y++)
        for (let x = 0; x < size; x++) {
            const a = 3 * x / size - 2, b = 2 * y / size - 1;
            let r = 0, i = 0, n = 0;
            while (r * r + i * i < 4 && n < 100) [r, i, n] = [r * r - i * i + a, 2 * r * i + b, n + 1];
            inside += n === 100;
        }
    return inside;
}

function shapes(count) {
    let sum = 0;
    for (let i = 0; i < count; i++) {
        const o = i % 3 === 0 ? { a: i, b: 1 } : i % 3 === 1 ? { b: i, a: 2 } : { c: i, a: 3, b: i & 7 };
        sum = (sum + o.a * 3 + o.b) % 1000003;
    }
    return sum;
}

function freshCode(count) {
    let sum = 0;
    for (let i = 0; i < count; i++) {
        const f = new Function("n", `let s = ${i}; for (let k = 0; k < n; k++) s = (s * ${2 * i + 3} + k) | 0; return s;`);
        sum = (sum + f(3000)) | 0;
    }
    return sum;
}

const words = new Map();
for (let i = 0, state = 1; i < 200000; i++) {
    state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff;
    const word = "w" + (state >> 8) % 5003;
    words.set(word, (words.get(word) ?? 0) + 1);
}
const text = JSON.stringify([...words].sort((x, y) => (x[0] < y[0] ? -1 : 1)));
const numbers = Array.from({ length: 100000 }, (_, i) => (i * 7919) % 100003).sort((x, y) => x - y);
console.log(mandelbrot(250), shapes(3000000), freshCode(150), text.length, JSON.parse(text).length, numbers[777]);
