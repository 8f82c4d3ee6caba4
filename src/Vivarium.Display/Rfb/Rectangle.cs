namespace Vivarium.Display.Rfb;

/// <summary>A part of the screen, in pixels.</summary>
internal readonly record struct Rectangle(int X, int Y, int Width, int Height);
