# Linked into the native viv and run before main: gets memory that every start uses from the host at once, which later costs more, a fault
# for each 4 KiB or 64 KiB. Where the host refuses, it is as without.

    # What the runtime unpacks first of all, types and literals. The section begins and ends with a huge page, and so is found by the
    # alignment in its program header (System V ABI, "Program Header").
    .section .hydrated, "aw", @nobits
    .balign 0x200000
end_of_literals:

    # What it is unpacked from is nearly the last in this section.
    .section .rodata, "a"
end_of_constants:
    .byte   0

    # The runtime's own code, and behind it of all methods those that viv.order lists.
    .equ    listed_methods, 1450000

    .equ    MADV_HUGEPAGE, 14
    .equ    MADV_POPULATE_READ, 22
    .equ    MADV_POPULATE_WRITE, 23

    .text
    .type   get_memory, @function
get_memory:
    pushq   %rbx
    pushq   %r12
    subq    $8, %rsp                # for calls, the stack is aligned to 16 bytes
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
    movq    40(%r9), %rsi           # p_memsz
    addq    %rdi, %rsi
    movl    $MADV_HUGEPAGE, %edx
    call    advise
other:
    addq    $56, %r9
    decl    %r10d
    jnz     next

    leaq    _start(%rip), %rdi
    leaq    listed_methods+__start___managedcode(%rip), %rsi
    call    read
    leaq    __dehydrated_data(%rip), %rdi
    leaq    end_of_constants(%rip), %rsi
    call    read

    # The heap of malloc(3), which the runtime takes its own memory from: what there is of it once something has been asked for.
    movl    $1, %edi
    call    malloc@PLT
    movq    %rax, %rbx
    xorl    %edi, %edi
    call    sbrk@PLT
    movq    %rbx, %rdi
    movq    %rax, %rsi
    movl    $MADV_POPULATE_WRITE, %edx
    call    advise
    addq    $8, %rsp
    popq    %r12
    popq    %rbx
    ret

# Maps the pages from rdi up to rsi and reads of each: where the host is a virtual machine with shadow page tables, that machine has faults of
# its own when a page is first used, which take less one after the other.
read:
    movq    %rdi, %rbx
    movq    %rsi, %r12
    movl    $MADV_POPULATE_READ, %edx
    call    advise
read_next:
    movb    (%rbx), %al
    addq    $4096, %rbx
    cmpq    %r12, %rbx
    jb      read_next
    ret

# madvise(2) for rdi, made a page's start, up to rsi; edx says what. Keeps r8 to r10.
advise:
    andq    $-4096, %rdi
    subq    %rdi, %rsi
    movl    $28, %eax
    syscall
    ret
    .size   get_memory, . - get_memory

    .section .init_array, "aw"
    .balign 8
    .quad   get_memory

    .section .note.GNU-stack, "", @progbits
