using System.Reflection;
using System.Reflection.Metadata;
using System.Reflection.Metadata.Ecma335;
using System.Reflection.PortableExecutable;

namespace Vivarium.Profile;

/// <summary>
/// A profile as the compilers take it (--mibc): an assembly whose IL is never run, only read. Its method AssemblyDictionary leads
/// to one method for each assembly, which has the token of each counted method and behind it the counters (dotnet/runtime,
/// MIbcProfileParser.cs and PgoFormat.cs).
/// </summary>
internal sealed class MibcWriter
{
    private const int AllFieldsFollow = 0xF;

    /// <summary>The same counters make the same file.</summary>
    private static readonly Guid s_identity = new("5c1d2a9e-7f50-4b0c-9b3c-2f6f0e6d1a44");

    private readonly MetadataBuilder _metadata = new();
    private readonly MethodBodyStreamEncoder _bodies = new(new BlobBuilder());
    private readonly InstructionEncoder _dictionary = new(new BlobBuilder());
    private readonly Dictionary<string, AssemblyReferenceHandle> _assemblies = [];
    private readonly Dictionary<(EntityHandle Scope, string Space, string Name), TypeReferenceHandle> _types = [];
    private readonly BlobHandle _signature;

    public MibcWriter(string name)
    {
        _metadata.AddModule(0, _metadata.GetOrAddString(name), _metadata.GetOrAddGuid(s_identity), default, default);
        _metadata.AddAssembly(_metadata.GetOrAddString(name), new Version(), default, default, default, default);
        _metadata.AddTypeDefinition(default, default, _metadata.GetOrAddString("<Module>"), default, MetadataTokens.FieldDefinitionHandle(1), MetadataTokens.MethodDefinitionHandle(1));
        var signature = new BlobBuilder();
        new BlobEncoder(signature).MethodSignature().Parameters(0, returns => returns.Void(), _ => { });
        _signature = _metadata.GetOrAddBlob(signature);
    }

    public void Add(MetadataReader assembly, IEnumerable<(MethodDefinitionHandle Method, MethodProfile Profile)> methods)
    {
        var il = new InstructionEncoder(new BlobBuilder());
        foreach ((MethodDefinitionHandle method, MethodProfile profile) in methods)
        {
            il.OpCode(ILOpCode.Ldtoken);
            il.Token(ReferenceTo(assembly, assembly.GetMethodDefinition(method)));
            il.LoadString(_metadata.GetOrAddUserString("InstrumentationDataStart"));
            foreach (Counter counter in profile.Counters)
            {
                il.LoadConstantI4(AllFieldsFollow);
                il.LoadConstantI4(counter.IlOffset);
                il.LoadConstantI4(counter.Kind);
                il.LoadConstantI4(1);
                il.LoadConstantI4(counter.Other);
                il.LoadConstantI4(counter.Value);
            }

            il.LoadString(_metadata.GetOrAddUserString("InstrumentationDataEnd"));
            il.OpCode(ILOpCode.Pop);
        }

        string name = NameOf(assembly);
        _dictionary.LoadString(_metadata.GetOrAddUserString($"{name};"));
        _dictionary.OpCode(ILOpCode.Ldtoken);
        _dictionary.Token(Define(name, il));
        _dictionary.OpCode(ILOpCode.Pop);
    }

    public void Save(string path)
    {
        _ = Define("AssemblyDictionary", _dictionary);
        var image = new BlobBuilder();
        _ = new ManagedPEBuilder(
            PEHeaderBuilder.CreateLibraryHeader(),
            new MetadataRootBuilder(_metadata),
            _bodies.Builder,
            deterministicIdProvider: _ => new BlobContentId(s_identity, 0)).Serialize(image);
        using FileStream file = File.Create(path);
        image.WriteContentTo(file);
    }

    private static string NameOf(MetadataReader assembly) => assembly.GetString(assembly.GetAssemblyDefinition().Name);

    private MethodDefinitionHandle Define(string name, InstructionEncoder il) => _metadata.AddMethodDefinition(
        MethodAttributes.Public | MethodAttributes.Static,
        MethodImplAttributes.IL,
        _metadata.GetOrAddString(name),
        _signature,
        _bodies.AddMethodBody(il),
        default);

    private MemberReferenceHandle ReferenceTo(MetadataReader from, MethodDefinition method)
    {
        var signature = new BlobBuilder();
        BlobReader source = from.GetBlobReader(method.Signature);
        signature.WriteByte(source.ReadByte());
        CopyTypes(from, ref source, signature, 1 + CopyNumber(ref source, signature));
        return _metadata.AddMemberReference(
            TypeOf(from, method.GetDeclaringType()),
            _metadata.GetOrAddString(from.GetString(method.Name)),
            _metadata.GetOrAddBlob(signature));
    }

    /// <summary>A type in a signature (ECMA-335, II.23.2.12), with this file's tokens in place of its assembly's.</summary>
    private void CopyType(MetadataReader from, ref BlobReader source, BlobBuilder to)
    {
        int code = CopyNumber(ref source, to);
        switch ((SignatureTypeCode)code)
        {
            case (SignatureTypeCode)SignatureTypeKind.Class or (SignatureTypeCode)SignatureTypeKind.ValueType:
                CopyToken(from, ref source, to);
                break;
            case SignatureTypeCode.Pointer or SignatureTypeCode.ByReference or SignatureTypeCode.SZArray:
                CopyType(from, ref source, to);
                break;
            case SignatureTypeCode.RequiredModifier or SignatureTypeCode.OptionalModifier:
                CopyToken(from, ref source, to);
                CopyType(from, ref source, to);
                break;
            case SignatureTypeCode.GenericTypeInstance:
                CopyType(from, ref source, to);
                CopyTypes(from, ref source, to, CopyNumber(ref source, to));
                break;
            case SignatureTypeCode.FunctionPointer:
                to.WriteByte(source.ReadByte());
                CopyTypes(from, ref source, to, 1 + CopyNumber(ref source, to));
                break;
            case SignatureTypeCode.Array:
                CopyType(from, ref source, to);
                _ = CopyNumber(ref source, to);
                CopyNumbers(ref source, to);
                CopyNumbers(ref source, to);
                break;
        }
    }

    private void CopyTypes(MetadataReader from, ref BlobReader source, BlobBuilder to, int count)
    {
        for (; count > 0; count--)
        {
            CopyType(from, ref source, to);
        }
    }

    private void CopyToken(MetadataReader from, ref BlobReader source, BlobBuilder to) =>
        to.WriteCompressedInteger(CodedIndex.TypeDefOrRefOrSpec(TypeOf(from, source.ReadTypeHandle())));

    private static int CopyNumber(ref BlobReader source, BlobBuilder to)
    {
        int value = source.ReadCompressedInteger();
        to.WriteCompressedInteger(value);
        return value;
    }

    private static void CopyNumbers(ref BlobReader source, BlobBuilder to)
    {
        for (int count = CopyNumber(ref source, to); count > 0; count--)
        {
            _ = CopyNumber(ref source, to);
        }
    }

    private TypeReferenceHandle TypeOf(MetadataReader from, EntityHandle type)
    {
        if (type.Kind == HandleKind.TypeDefinition)
        {
            TypeDefinition definition = from.GetTypeDefinition((TypeDefinitionHandle)type);
            TypeDefinitionHandle outer = definition.GetDeclaringType();
            return TypeIn(outer.IsNil ? Assembly(NameOf(from)) : TypeOf(from, outer), from.GetString(definition.Namespace), from.GetString(definition.Name));
        }

        TypeReference reference = from.GetTypeReference((TypeReferenceHandle)type);
        EntityHandle scope = reference.ResolutionScope.Kind == HandleKind.TypeReference
            ? TypeOf(from, reference.ResolutionScope)
            : Assembly(from.GetString(from.GetAssemblyReference((AssemblyReferenceHandle)reference.ResolutionScope).Name));
        return TypeIn(scope, from.GetString(reference.Namespace), from.GetString(reference.Name));
    }

    private TypeReferenceHandle TypeIn(EntityHandle scope, string space, string name)
    {
        if (!_types.TryGetValue((scope, space, name), out TypeReferenceHandle handle))
        {
            handle = _metadata.AddTypeReference(scope, _metadata.GetOrAddString(space), _metadata.GetOrAddString(name));
            _types.Add((scope, space, name), handle);
        }

        return handle;
    }

    private AssemblyReferenceHandle Assembly(string name)
    {
        if (!_assemblies.TryGetValue(name, out AssemblyReferenceHandle handle))
        {
            handle = _metadata.AddAssemblyReference(_metadata.GetOrAddString(name), new Version(), default, default, default, default);
            _assemblies.Add(name, handle);
        }

        return handle;
    }
}
