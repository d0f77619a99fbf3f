defmodule DSPex.Wire.Multipart do
  @moduledoc """
  Multipart bodies: an envelope and attachments (`proto/PROTOCOL.md`, section 2).
  """

  @doc """
  Joins an envelope and its attachments.

      iex> IO.iodata_to_binary(DSPex.Wire.Multipart.encode("{}", ["ab"]))
      <<1, 0, 2, 0, 0, 0, 2, "{}", 0, 0, 0, 2, "ab">>
  """
  @spec encode(iodata, [binary]) :: iodata
  def encode(envelope, parts) do
    [
      <<1, length(parts) + 1::16, IO.iodata_length(envelope)::32>>,
      envelope | Enum.map(parts, &[<<byte_size(&1)::32>>, &1])
    ]
  end

  @doc """
  Splits a body into its envelope and its attachments.

      iex> DSPex.Wire.Multipart.decode(<<1, 0, 2, 0, 0, 0, 2, "{}", 0, 0, 0, 2, "ab">>)
      {:ok, "{}", ["ab"]}
      iex> DSPex.Wire.Multipart.decode(<<1, 0, 2, 0, 0, 0, 2, "{}">>)
      :error
  """
  @spec decode(binary) :: {:ok, binary, [binary]} | :error
  def decode(<<1, count::16, rest::binary>>) when count > 0 do
    with {:ok, [envelope | parts]} <- parts(rest, count, []), do: {:ok, envelope, parts}
  end

  def decode(_body), do: :error

  defp parts("", 0, parts), do: {:ok, Enum.reverse(parts)}

  defp parts(<<length::32, part::binary-size(length), rest::binary>>, count, parts) when count > 0,
    do: parts(rest, count - 1, [part | parts])

  defp parts(_rest, _count, _parts), do: :error
end
