defmodule DSPex.Wire.Msgpack do
  @moduledoc """
  MessagePack of protocol 1 (`proto/PROTOCOL.md`, section 3), with the ext types of the value model.

  Reading is strict: text is UTF-8, keys are text and stand once, ext types are the known ones, and nothing follows the
  value. Every form of a number or a length is read, the shortest is written. Text and bytes of a decoded value point
  into the body they came in, which lives as long as they do.
  """

  alias DSPex.Error
  alias DSPex.Wire.Limits
  alias DSPex.Wire.Msgpack.Decoder
  alias DSPex.Wire.Msgpack.Encoder
  alias DSPex.Wire.Msgpack.Extensions
  alias DSPex.Wire.Values

  @doc """
  Writes a value. Bytes above `limits.attach` come back as parts, to be sent as attachments.

      iex> {:ok, bytes, []} = DSPex.Wire.Msgpack.encode(%{"b" => {1, nil}, a: 200})
      iex> IO.iodata_to_binary(bytes)
      <<0x82, 0xA1, ?a, 0xCC, 200, 0xA1, ?b, 0xC7, 3, 2, 0x92, 1, 0xC0>>
  """
  @spec encode(term, Limits.t()) :: {:ok, iodata, [binary]} | {:error, Error.t()}
  defdelegate encode(term, limits \\ %Limits{}), to: Encoder

  @doc "Writes the members of a map that stands at level 2 of a body (`params`, `result`), without its head."
  @spec encode_members([{String.t(), term}], Limits.t()) :: {:ok, iodata, [binary]} | {:error, Error.t()}
  defdelegate encode_members(pairs, limits), to: Encoder

  @doc """
  The head of a map of `count` members.

      iex> DSPex.Wire.Msgpack.map_head(3)
      <<0x83>>
  """
  @spec map_head(non_neg_integer) :: binary
  defdelegate map_head(count), to: Encoder

  @doc """
  Reads the one value of a body; `parts` are the attachments that it may point to.

      iex> DSPex.Wire.Msgpack.decode(<<0x92, 1, 0xC4, 1, 255>>)
      {:ok, [1, %DSPex.Bytes{data: <<255>>}]}
      iex> {:error, error} = DSPex.Wire.Msgpack.decode(<<0x92, 1>>)
      iex> error.message
      "the MessagePack ends after 2 bytes, in the middle of a value"
  """
  @spec decode(binary, Limits.t(), [binary]) :: {:ok, term} | {:error, Error.t()}
  def decode(bytes, limits \\ %Limits{}, parts \\ []) do
    bytes |> Decoder.start(Extensions.context(limits, parts)) |> one(bytes)
  catch
    {_reason, _message, _limit} = refused -> {:error, Values.error(refused)}
  end

  @doc """
  Reads plain MessagePack of any origin: ext types are left as `DSPex.Wire.Msgpack.Ext`.

      iex> DSPex.Wire.Msgpack.decode_plain(<<0xD4, 42, 7>>)
      {:ok, %DSPex.Wire.Msgpack.Ext{type: 42, data: <<7>>}}
  """
  @spec decode_plain(binary, Limits.t()) :: {:ok, term} | {:error, Error.t()}
  def decode_plain(bytes, limits \\ %Limits{}) do
    bytes |> Decoder.start(Extensions.plain_context(limits)) |> one(bytes)
  catch
    {_reason, _message, _limit} = refused -> {:error, Values.error(refused)}
  end

  @doc """
  Reads values that stand one after the other, up to the end.

      iex> DSPex.Wire.Msgpack.decode_all(<<1, 0xC3, 0x90>>)
      {:ok, [1, true, []]}
  """
  @spec decode_all(binary, Limits.t()) :: {:ok, [term]} | {:error, Error.t()}
  def decode_all(bytes, limits \\ %Limits{}) do
    all(bytes, Extensions.context(limits, []), [], byte_size(bytes))
  catch
    {_reason, _message, _limit} = refused -> {:error, Values.error(refused)}
  end

  defp one({:ok, value, ""}, _bytes), do: {:ok, value}
  defp one({:more, _missing, _state}, bytes), do: {:error, truncated(byte_size(bytes))}

  defp one({:ok, _value, rest}, _bytes),
    do: {:error, Error.new(:protocol_error, "#{byte_size(rest)} bytes follow the MessagePack value of a body")}

  defp all("", _context, values, _size), do: {:ok, Enum.reverse(values)}

  defp all(bytes, context, values, size) do
    case Decoder.start(bytes, context) do
      {:ok, value, rest} -> all(rest, context, [value | values], size)
      {:more, _missing, _state} -> {:error, truncated(size)}
    end
  end

  defp truncated(size),
    do: Error.new(:protocol_error, "the MessagePack ends after #{size} bytes, in the middle of a value")
end
