using System.Buffers.Binary;
using System.Net;
using System.Text;

namespace Vivarium.Network.Tests;

/// <summary>Builds DNS messages.</summary>
internal static class Dns
{
    public const ushort A = 1;
    public const ushort Cname = 5;
    public const ushort Aaaa = 28;

    public static byte[] Name(string name) =>
        [.. name.Split('.').SelectMany(label => (byte[])[(byte)label.Length, .. Encoding.ASCII.GetBytes(label)]), 0];

    public static byte[] Query(ushort id, string name, ushort type) =>
        [(byte)(id >> 8), (byte)id, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, .. Name(name), 0, (byte)type, 0, 1];

    public static byte[] Answer(ushort id, string name, ushort type, params byte[][] records) =>
        [(byte)(id >> 8), (byte)id, 0x81, 0x80, 0, 1, 0, (byte)records.Length, 0, 0, 0, 0, .. Name(name), 0, (byte)type, 0, 1, .. records.SelectMany(r => r)];

    public static byte[] Record(byte[] name, ushort type, uint timeToLive, byte[] data)
    {
        var ttl = new byte[4];
        BinaryPrimitives.WriteUInt32BigEndian(ttl, timeToLive);
        return [.. name, 0, (byte)type, 0, 1, .. ttl, 0, (byte)data.Length, .. data];
    }

    public static byte[] Address(string name, string address, uint timeToLive = 300)
    {
        var bytes = IPAddress.Parse(address).GetAddressBytes();
        return Record(Name(name), bytes.Length == 4 ? A : Aaaa, timeToLive, bytes);
    }
}
