defmodule DSPex.Wire.Msgpack.Ext do
  @moduledoc """
  An ext value of plain MessagePack: a type from -128 to 127 and its bytes. Protocol 1 has its own meaning for a few of
  them and refuses the rest; this struct is for MessagePack of other origin.
  """

  @enforce_keys [:type, :data]
  defstruct [:type, :data]

  @type t :: %__MODULE__{type: -128..127, data: binary}

  @timestamp -1
  @nanoseconds 1_000_000_000

  @doc """
  The timestamp (type -1) of seconds since 1970 and nanoseconds, in its shortest form.

      iex> DSPex.Wire.Msgpack.Ext.timestamp(1, 0)
      %DSPex.Wire.Msgpack.Ext{type: -1, data: <<0, 0, 0, 1>>}
  """
  @spec timestamp(integer, 0..999_999_999) :: t
  def timestamp(seconds, 0) when seconds in 0..0xFFFFFFFF, do: new(<<seconds::32>>)
  def timestamp(seconds, nanos) when seconds in 0..0x3FFFFFFFF, do: new(<<nanos::30, seconds::34>>)
  def timestamp(seconds, nanos), do: new(<<nanos::32, seconds::64>>)

  @doc """
  Seconds and nanoseconds of a timestamp's bytes.

      iex> DSPex.Wire.Msgpack.Ext.read_timestamp(<<0, 0, 0, 1>>)
      {:ok, 1, 0}
  """
  @spec read_timestamp(binary) :: {:ok, integer, 0..999_999_999} | :error
  def read_timestamp(<<seconds::32>>), do: {:ok, seconds, 0}
  def read_timestamp(<<nanos::30, seconds::34>>) when nanos < @nanoseconds, do: {:ok, seconds, nanos}
  def read_timestamp(<<nanos::32, seconds::64-signed>>) when nanos < @nanoseconds, do: {:ok, seconds, nanos}
  def read_timestamp(_data), do: :error

  defp new(data), do: %__MODULE__{type: @timestamp, data: data}
end
