defmodule DSPex.Wire.Msgpack.Stream do
  @moduledoc """
  Reads MessagePack values that come one after the other in pieces. Bytes in, values out; no I/O.

  Reading goes on where it stopped, so that the work is the same however the bytes are cut. One value may take at most
  `cap` bytes; what declares more is refused before it is there. After `:fatal` the stream is dead and ignores further bytes.
  """

  alias DSPex.Error
  alias DSPex.Wire.Limits
  alias DSPex.Wire.Msgpack.Decoder
  alias DSPex.Wire.Msgpack.Extensions
  alias DSPex.Wire.Values

  @default_cap 67_108_864

  defstruct [:context, state: :boundary, cap: @default_cap, used: 0, missing: 1, parts: [], have: 0]

  @type t :: %__MODULE__{}
  @type event :: {:value, term} | {:fatal, Error.t()}

  @doc "A reader for the start of a stream. `cap`: bytes of one value (64 MiB)."
  @spec new(Limits.t(), pos_integer) :: t
  def new(limits \\ %Limits{}, cap \\ @default_cap) when is_integer(cap) and cap > 0,
    do: %__MODULE__{context: Extensions.context(limits, []), cap: cap}

  @doc """
  Reads the next bytes of the stream.

      iex> alias DSPex.Wire.Msgpack.Stream
      iex> {events, stream} = Stream.decode(Stream.new(), <<7, 0x92, 1>>)
      iex> events
      [value: 7]
      iex> {events, _stream} = Stream.decode(stream, <<2>>)
      iex> events
      [value: [1, 2]]
  """
  @spec decode(t, binary) :: {[event], t}
  def decode(%__MODULE__{state: :dead} = stream, _bytes), do: {[], stream}
  def decode(%__MODULE__{} = stream, ""), do: {[], stream}

  def decode(%__MODULE__{missing: missing, have: have} = stream, bytes) when have + byte_size(bytes) < missing,
    do: {[], %{stream | parts: [stream.parts | bytes], have: have + byte_size(bytes)}}

  def decode(%__MODULE__{} = stream, bytes) do
    bytes = if stream.parts == [], do: bytes, else: IO.iodata_to_binary([stream.parts | bytes])
    go_on(%{stream | parts: [], have: 0}, bytes, [])
  end

  @doc "Whether the stream may end here: nothing of a value has been read."
  @spec at_boundary?(t) :: boolean
  def at_boundary?(%__MODULE__{state: state}), do: state == :boundary

  defp go_on(%{state: :boundary} = stream, "", events), do: {Enum.reverse(events), stream}

  defp go_on(stream, bytes, events) do
    case read(stream, bytes) do
      {:ok, value, rest} -> go_on(%{stream | state: :boundary, used: 0, missing: 1}, rest, [{:value, value} | events])
      {:more, missing, state} -> wait(stream, missing, state, stream.used + byte_size(bytes), events)
    end
  catch
    {_reason, _message, _limit} = refused -> die(stream, refused, events)
  end

  defp read(%{state: :boundary, context: context}, bytes), do: Decoder.start(bytes, context)
  defp read(%{state: state, context: context}, bytes), do: Decoder.resume(state, bytes, context)

  defp wait(%{cap: cap} = stream, missing, _state, used, events) when used + missing > cap,
    do: die(stream, {:limit_exceeded, "a MessagePack value has more than #{cap} bytes", "max_frame_bytes"}, events)

  defp wait(stream, missing, state, used, events),
    do: {Enum.reverse(events), %{stream | state: state, missing: missing, used: used}}

  defp die(stream, refused, events),
    do: {Enum.reverse(events, [{:fatal, Values.error(refused)}]), %{stream | state: :dead, parts: []}}
end
