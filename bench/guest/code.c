// Programs that write where they run: what just-in-time compilers and patched kernels do.
#include <string.h>
#include <sys/mman.h>

#include "bench.h"

enum { PAGE = 4096 };

static uint8_t *code_page(void)
{
    uint8_t *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED)
        fail("mmap");
    return page;
}

// mov eax, imm32; ret
static const uint8_t return_number[] = { 0xB8, 0, 0, 0, 0, 0xC3 };

// One operation: a new immediate is written into a function, which is then called.
static uint64_t run_patch(uint64_t count)
{
    uint8_t *page = code_page();
    uint32_t (*function)(void) = (uint32_t(*)(void))page;
    uint64_t sum = 0;
    memcpy(page, return_number, sizeof return_number);
    for (uint64_t i = 0; i < count; i++) {
        *(volatile uint32_t *)(page + 1) = (uint32_t)i * 2654435761u;
        sum = mix(sum, function());
    }
    munmap(page, PAGE);
    return sum;
}

// One operation: eight bytes are written 2 KiB from a function, which is then called.
static uint64_t run_data_beside(uint64_t count)
{
    uint8_t *page = code_page();
    uint32_t (*function)(void) = (uint32_t(*)(void))page;
    volatile uint64_t *data = (volatile uint64_t *)(page + PAGE / 2);
    uint64_t sum = 0;
    memcpy(page, return_number, sizeof return_number);
    for (uint64_t i = 0; i < count; i++) {
        data[i & 7] += i;
        sum += function() + data[i & 7];
    }
    munmap(page, PAGE);
    return sum;
}

// One operation: a turn of a loop that counts in its own page.
static uint64_t run_data_in_loop(uint64_t count)
{
    // inc qword [rip+0x100]; dec rdi; jne -12; ret: the counter stands 7 + 0x100 bytes from the start.
    static const uint8_t loop[] = { 0x48, 0xFF, 0x05, 0x00, 0x01, 0x00, 0x00, 0x48, 0xFF, 0xCF, 0x75, 0xF4, 0xC3 };
    uint8_t *page = code_page();
    memcpy(page, loop, sizeof loop);
    ((void (*)(uint64_t))page)(count);
    uint64_t counted;
    memcpy(&counted, page + 0x107, sizeof counted);
    munmap(page, PAGE);
    return counted;
}

// One operation: a page of 64 small functions is written anew, and each of them called.
static uint64_t run_rewrite(uint64_t count)
{
    uint8_t *page = code_page();
    uint64_t sum = 0;
    for (uint64_t i = 0; i < count; i++) {
        for (uint32_t n = 0; n < 64; n++) {
            uint32_t number = (uint32_t)i * 64 + n;
            memcpy(page + n * 64, return_number, sizeof return_number);
            memcpy(page + n * 64 + 1, &number, sizeof number);
        }
        for (uint32_t n = 0; n < 64; n++)
            sum = mix(sum, ((uint32_t(*)(void))(page + n * 64))());
    }
    munmap(page, PAGE);
    return sum;
}

const struct bench code_group[] = {
    { "patch-immediate", run_patch, 500 },
    { "data-beside", run_data_beside, 500 },
    { "data-in-loop", run_data_in_loop, 500 },
    { "rewrite-page", run_rewrite, 4 },
    { NULL, NULL, 0 },
};
