defmodule DSPex.Wire.Frame do
  @moduledoc """
  Frames: a length of four bytes, big-endian, and the body. Bytes in, events out; no I/O.

  The decoder never stores more than one body of the cap's size: a frame above the cap is counted off and dropped, and the
  stream goes on after it. A length of 2^29 or more is no frame at all (any ASCII text looks like this): after `:fatal`
  the decoder is dead and ignores further bytes.
  """

  @default_cap 67_108_864
  @not_a_frame 536_870_912
  @flat 16_384

  defstruct cap: @default_cap, state: :header, buffer: "", parts: [], have: 0, need: 0

  @type t :: %__MODULE__{
          cap: pos_integer,
          state: :header | :body | :skip | :dead,
          buffer: binary,
          parts: [binary],
          have: non_neg_integer,
          need: non_neg_integer
        }

  @typedoc """
    * `{:frame, body}` – a whole body, of 1 byte up to the cap
    * `{:error, :empty}` – a frame of length 0; the next frame follows
    * `{:error, {:too_large, length}}` – above the cap; its bytes are dropped as they come
    * `{:fatal, {:not_a_frame, length}}` – the connection can't be read any further
  """
  @type event ::
          {:frame, binary}
          | {:error, :empty | {:too_large, pos_integer}}
          | {:fatal, {:not_a_frame, pos_integer}}

  @doc "A decoder for the start of a stream, with its cap in bytes (64 MiB)."
  @spec new(pos_integer) :: t
  def new(cap \\ @default_cap) when is_integer(cap) and cap > 0, do: %__MODULE__{cap: cap}

  @doc """
  Puts a body into a frame.

      iex> IO.iodata_to_binary(DSPex.Wire.Frame.encode("{}"))
      <<0, 0, 0, 2, ?{, ?}>>
  """
  @spec encode(iodata) :: iodata
  def encode(body), do: [<<IO.iodata_length(body)::32>> | body]

  @doc """
  Puts a body into a frame that is one binary, if it is small: that costs less to send to another process than its parts.

      iex> DSPex.Wire.Frame.flat([?{, ?}])
      <<0, 0, 0, 2, ?{, ?}>>
  """
  @spec flat(iodata) :: iodata
  def flat(body) do
    length = IO.iodata_length(body)
    frame = [<<length::32>> | body]
    if length <= @flat, do: IO.iodata_to_binary(frame), else: frame
  end

  @doc """
  Reads the next bytes of the stream.

      iex> {events, state} = DSPex.Wire.Frame.decode(DSPex.Wire.Frame.new(), <<0, 0, 0, 2, ?{>>)
      iex> events
      []
      iex> {events, _state} = DSPex.Wire.Frame.decode(state, "}")
      iex> events
      [frame: "{}"]
  """
  @spec decode(t, binary) :: {[event], t}
  def decode(%__MODULE__{state: :dead} = decoder, _bytes), do: {[], decoder}

  def decode(%__MODULE__{state: :header, buffer: ""} = decoder, bytes), do: header(bytes, decoder, [])

  def decode(%__MODULE__{state: :header, buffer: buffer} = decoder, bytes),
    do: header(buffer <> bytes, %{decoder | buffer: ""}, [])

  def decode(%__MODULE__{state: :body} = decoder, bytes), do: body(bytes, decoder, [])
  def decode(%__MODULE__{state: :skip} = decoder, bytes), do: skip(bytes, decoder, [])

  @doc "Whether the stream may end here: nothing of a frame has been read."
  @spec at_boundary?(t) :: boolean
  def at_boundary?(%__MODULE__{state: :header, buffer: ""}), do: true
  def at_boundary?(%__MODULE__{}), do: false

  # The common case first: the whole frame lies in the bytes at hand and nothing needs to be stored.
  defp header(<<length::32, body::binary-size(length), rest::binary>>, %{cap: cap} = decoder, events)
       when length > 0 and length <= cap,
       do: header(rest, decoder, [{:frame, body} | events])

  defp header(<<0::32, rest::binary>>, decoder, events), do: header(rest, decoder, [{:error, :empty} | events])

  defp header(<<length::32, _rest::binary>>, decoder, events) when length >= @not_a_frame do
    {Enum.reverse(events, [{:fatal, {:not_a_frame, length}}]), %{decoder | state: :dead, buffer: "", parts: []}}
  end

  defp header(<<length::32, rest::binary>>, %{cap: cap} = decoder, events) when length > cap,
    do: skip(rest, %{decoder | state: :skip, need: length}, [{:error, {:too_large, length}} | events])

  defp header(<<length::32, rest::binary>>, decoder, events),
    do: body(rest, %{decoder | state: :body, need: length, have: 0, parts: []}, events)

  # Copied, so that three bytes of a header do not keep a large read alive.
  defp header(bytes, decoder, events),
    do: {Enum.reverse(events), %{decoder | state: :header, buffer: :binary.copy(bytes)}}

  defp body(bytes, %{need: need, have: have} = decoder, events) when have + byte_size(bytes) < need do
    {Enum.reverse(events), %{decoder | parts: [decoder.parts | bytes], have: have + byte_size(bytes)}}
  end

  defp body(bytes, %{need: need, have: have} = decoder, events) do
    missing = need - have
    <<last::binary-size(missing), rest::binary>> = bytes
    frame = IO.iodata_to_binary([decoder.parts | last])
    header(rest, %{decoder | state: :header, parts: [], have: 0, need: 0}, [{:frame, frame} | events])
  end

  defp skip(bytes, %{need: need} = decoder, events) when byte_size(bytes) < need,
    do: {Enum.reverse(events), %{decoder | need: need - byte_size(bytes)}}

  defp skip(bytes, %{need: need} = decoder, events) do
    <<_dropped::binary-size(need), rest::binary>> = bytes
    header(rest, %{decoder | state: :header, need: 0}, events)
  end
end
