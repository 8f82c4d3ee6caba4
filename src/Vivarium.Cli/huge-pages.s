# Linked into the native viv and run before main: huge pages of the host for what the runtime unpacks first of all, types and literals
# (section .hydrated), which otherwise costs a fault for each 4 KiB. The section begins and ends with a huge page, and so is found by
# the alignment in its program header (System V ABI, "Program Header").

    .section .hydrated, "aw", @nobits
    .balign 0x200000
end_of_literals:

    .text
    .type   use_huge_pages, @function
use_huge_pages:
    .reloc  ., R_X86_64_NONE, end_of_literals   # else the linker leaves out what has no bytes, and its alignment
    leaq    __ehdr_start(%rip), %r8
    movq    32(%r8), %r9            # e_phoff
    addq    %r8, %r9
    movzwl  56(%r8), %r10d          # e_phnum
next:
    cmpl    $1, (%r9)               # p_type: PT_LOAD
    jne     other
    cmpq    $0x200000, 48(%r9)      # p_align
    jne     other
    movq    16(%r9), %rdi           # p_vaddr
    addq    %r8, %rdi
    andq    $-4096, %rdi
    movq    40(%r9), %rsi           # p_memsz
    movl    $14, %edx               # MADV_HUGEPAGE
    movl    $28, %eax               # madvise(2); where it fails, there are small pages
    syscall
other:
    addq    $56, %r9
    decl    %r10d
    jnz     next
    ret
    .size   use_huge_pages, . - use_huge_pages

    .section .init_array, "aw"
    .balign 8
    .quad   use_huge_pages

    .section .note.GNU-stack, "", @progbits
