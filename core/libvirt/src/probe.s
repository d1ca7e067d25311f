# The probe guest: from real mode to long mode with paging, then fifty timer interrupts and a little SSE
# arithmetic, then a line on the first serial port. A processor that only seems to work (one that
# emulates, say, and knows just what firmware needs) fails before that line, as an ordinary guest would.
.code16
.globl _start
_start:
    cli
    xorw %ax,%ax
    movw %ax,%ds
    movw %ax,%es
    movw %ax,%ss
    movw $0x7c00,%sp
    cld
    # page tables at 0x1000 (pml4), 0x2000 (pdpt), 0x3000 (pd, one 2 MiB page); the IDT page is cleared too
    movw $0x1000,%di
    movw $0x2000,%cx
    rep stosw
    movb $0x20,0x1001
    movb $0x03,0x1000
    movb $0x30,0x2001
    movb $0x03,0x2000
    movb $0x83,0x3000
    movl $0x1000,%eax
    movl %eax,%cr3
    movl $0x620,%eax        # PAE, OSFXSR, OSXMMEXCPT
    movl %eax,%cr4
    movl $0xc0000080,%ecx
    rdmsr
    orw $0x100,%ax
    wrmsr
    lgdt gdtr
    movl $0x80000011,%eax
    movl %eax,%cr0
    ljmp $8,$long
.code64
long:
    movl $0x10,%eax
    movl %eax,%ds
    movl %eax,%es
    movl %eax,%ss
    # IDT at 0x4000, vector 0x20 -> tick
    movl $0x4200,%edi
    movl $tick,%eax
    movw %ax,(%rdi)
    movw $8,2(%rdi)
    movw $0x8e00,4(%rdi)
    lidt idtr
    # PIC remap to 0x20, only IRQ 0
    movb $0x11,%al
    outb %al,$0x20
    movb $0x20,%al
    outb %al,$0x21
    movb $4,%al
    outb %al,$0x21
    movb $1,%al
    outb %al,$0x21
    movb $0xfe,%al
    outb %al,$0x21
    # PIT channel 0, square wave, about 1 kHz
    movb $0x36,%al
    outb %al,$0x43
    movb $0xa9,%al
    outb %al,$0x40
    movb $4,%al
    outb %al,$0x40
    xorl %ebx,%ebx
    sti
idle:
    hlt
    cmpl $50,%ebx
    jb idle
    cli
    # ticks may come in a burst, so the count may be above fifty
    movl $50,%ebx
    cvtsi2sd %ebx,%xmm0
    mulsd %xmm0,%xmm0
    cvtsd2si %xmm0,%eax
    cmpl $2500,%eax
    jne dead
    xorl %eax,%eax
    cpuid
    movl $msg,%esi
next:
    lodsb
    testb %al,%al
    jz dead
    movb %al,%bl
wait:
    movw $0x3fd,%dx
    inb %dx,%al
    testb $0x20,%al
    jz wait
    movb %bl,%al
    movw $0x3f8,%dx
    outb %al,%dx
    jmp next
dead:
    cli
    hlt
    jmp dead
tick:
    incl %ebx
    movb $0x20,%al
    outb %al,$0x20
    iretq
gdt: .quad 0
    .quad 0x00209a0000000000
    .quad 0x0000920000000000
gdtr: .word 23
    .long gdt
idtr: .word 0x20f
    .quad 0x4000
msg: .asciz "canopy: alive\r\n"
.org 510
.word 0xaa55
